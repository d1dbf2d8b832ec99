"""The manifests, without a cluster: they render, follow their schemas, and agree with the server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from anytime_server.api.app import create_app
from anytime_server.engine.scripted import ScriptedEngine
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.server.settings import load_settings
from anytime_server.telemetry.metrics import Metrics
from anytime_server.text.model import BUNDLED_MODEL, Model
from dockerfile import Configuration, configuration, parse

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.32", "1.37")
OF_THE_OPERATOR = {"ServiceMonitor"}
"""Kinds that are not Kubernetes' own, and have no schema here."""
Document = dict[str, Any]


def render(overlay: str) -> list[Document]:
    command = ["kubectl", "kustomize", FOLDER / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=["cpu", "gpu"], scope="module")
def overlay(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def documents(overlay: str) -> dict[str, Document]:
    """What an overlay renders to, by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl")
    rendered = render(overlay)
    assert len({document["kind"] for document in rendered}) == len(rendered)
    return {document["kind"]: document for document in rendered}


@pytest.fixture(scope="module")
def pod(documents: dict[str, Document]) -> Document:
    return documents["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Document) -> Document:
    [container] = pod["containers"]
    return container


@pytest.fixture(scope="module")
def image(container: Document) -> Configuration:
    """The image that the overlay names, as the Dockerfile has it."""
    name, _, target = container["image"].partition(":")
    assert name == "anytime"
    return configuration(parse((ROOT / "Dockerfile").read_text(encoding="utf-8")), target)


@pytest.fixture(scope="module")
def service() -> Scheduler:
    model = Model.load(BUNDLED_MODEL)
    return Scheduler(model, ScriptedEngine(model.tokenizer, model.reasoning))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_follows_its_schema(documents: dict[str, Document], version: str) -> None:
    for kind in documents.keys() - OF_THE_OPERATOR:
        kubernetes_validate.validate(documents[kind], version, strict=True)
    assert documents.keys() >= {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
        *OF_THE_OPERATOR,
    }


def test_the_schemas_refuse_what_is_not_in_them(documents: dict[str, Document]) -> None:
    wrong = documents["Service"] | {"specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_the_server_is_given_options_that_it_has(pod: Document, container: Document) -> None:
    command, *arguments = container["args"]
    assert command == "serve"
    settings = load_settings(arguments)
    assert settings.keys is not None
    assert not settings.allow_anonymous
    [keys] = [one for one in container["volumeMounts"] if one["name"] == "keys"]
    [secret] = [one["secret"] for one in pod["volumes"] if one["name"] == "keys"]
    assert settings.keys in {f"{keys['mountPath']}/{item['path']}" for item in secret["items"]}
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_s + 15


def test_the_names_of_services_do_not_get_into_the_options(pod: Document, container: Document) -> None:
    """A Scheduler `anytime` would set ANYTIME_PORT to tcp://..., which is no port."""
    assert pod["enableServiceLinks"] is False
    assert {one["name"] for one in container["env"]} == {"ANYTIME_CONTINUATION_KEY"}


def test_probes_ask_what_the_server_answers(container: Document, service: Scheduler) -> None:
    known = set(create_app(service).openapi()["paths"])
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {one["path"] for one in asked.values()} <= known
    assert {kind: one["path"] for kind, one in asked.items()} == {
        "startup": "/health",
        "liveness": "/health",
        "readiness": "/ready",
    }
    assert {one["port"] for one in asked.values()} == {"http"}


def test_ports_agree(documents: dict[str, Document], container: Document, image: Configuration) -> None:
    [port] = container["ports"]
    assert (port["name"], [str(port["containerPort"])]) == ("http", list(image.ports))
    [served] = documents["Service"]["spec"]["ports"]
    assert served["targetPort"] == "http"
    [rule] = documents["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"port": "http"}]
    [scraped] = documents["ServiceMonitor"]["spec"]["endpoints"]
    assert (scraped["port"], scraped["path"]) == (served["name"], "/metrics")


def test_pods_meet_the_restricted_standard(pod: Document, container: Document, image: Configuration) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image.user
    assert context["fsGroup"] == context["runAsGroup"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]


def test_what_the_server_writes_to_is_a_volume(
    pod: Document, container: Document, image: Configuration
) -> None:
    mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert {*image.volumes, "/tmp", "/dev/shm"} <= mounted.keys()
    kinds = {one["name"]: one.keys() - {"name"} for one in pod["volumes"]}
    assert set(mounted.values()) == kinds.keys()
    assert all(len(kind) == 1 for kind in kinds.values())


def test_selectors_find_the_pods(documents: dict[str, Document]) -> None:
    labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    monitored = documents["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= documents["Service"]["metadata"]["labels"].items()


def test_it_scales_on_a_metric_that_the_server_has(
    documents: dict[str, Document], service: Scheduler
) -> None:
    scaler = documents["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "anytime"}
    assert "replicas" not in documents["Deployment"]["spec"]
    [metric] = [one["pods"]["metric"]["name"] for one in scaler["metrics"]]
    shown = Metrics.of(service).exposition().decode()
    assert f"\n{metric} " in shown
    [rule] = yaml.safe_load((FOLDER / "autoscaling/adapter-values.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == metric
    assert rule["seriesQuery"].startswith(f"{metric}{{")


def test_only_the_gpu_variant_asks_for_a_gpu(overlay: str, pod: Document, container: Document) -> None:
    with_gpu = overlay == "gpu"
    assert container["image"] == ("anytime:cuda" if with_gpu else "anytime:cpu")
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == with_gpu
    assert ("tolerations" in pod) == with_gpu
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
