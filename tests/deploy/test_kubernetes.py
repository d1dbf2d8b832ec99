"""The manifests, without a cluster: they render, follow their schemas, and agree with server and image."""

from __future__ import annotations

import shutil
import subprocess
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

from .dockerfile import ROOT, arguments, bases, user

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.32", "1.37")
OPERATOR_KINDS = {"ServiceMonitor"}
"""Kinds of the Prometheus operator, whose schemas are not checked here."""
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
    """The rendered documents of an overlay, by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
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
def scheduler() -> Scheduler:
    model = Model.load(BUNDLED_MODEL)
    return Scheduler(model, ScriptedEngine(model.tokenizer, model.reasoning))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_follows_its_schema(documents: dict[str, Document], version: str) -> None:
    for kind in documents.keys() - OPERATOR_KINDS:
        kubernetes_validate.validate(documents[kind], version, strict=True)
    assert documents.keys() >= {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
        *OPERATOR_KINDS,
    }


def test_schema_validation_rejects_an_unknown_field(documents: dict[str, Document]) -> None:
    wrong = documents["Service"] | {"specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_the_command_has_valid_options(pod: Document, container: Document) -> None:
    command, *options = container["args"]
    assert command == "serve"
    settings = load_settings(options)
    assert settings.keys is not None
    assert not settings.allow_anonymous
    [keys] = [one for one in container["volumeMounts"] if one["name"] == "keys"]
    [secret] = [one["secret"] for one in pod["volumes"] if one["name"] == "keys"]
    assert settings.keys in {f"{keys['mountPath']}/{item['path']}" for item in secret["items"]}
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_s + 15


def test_service_links_do_not_set_options(pod: Document, container: Document) -> None:
    """A Service named `anytime` would set ANYTIME_PORT to tcp://..., which is not a port."""
    assert pod["enableServiceLinks"] is False
    assert {one["name"] for one in container["env"]} == {"ANYTIME_CONTINUATION_KEY"}


def test_probe_paths_exist(container: Document, scheduler: Scheduler) -> None:
    known = set(create_app(scheduler).openapi()["paths"])
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {one["path"] for one in probes.values()} <= known
    assert {kind: one["path"] for kind, one in probes.items()} == {
        "startup": "/health",
        "liveness": "/health",
        "readiness": "/ready",
    }
    assert {one["port"] for one in probes.values()} == {"http"}


def test_ports_agree(documents: dict[str, Document], container: Document) -> None:
    [port] = container["ports"]
    assert (port["name"], [str(port["containerPort"])]) == ("http", arguments("EXPOSE"))
    [served] = documents["Service"]["spec"]["ports"]
    assert served["targetPort"] == "http"
    [rule] = documents["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"port": "http"}]
    [scraped] = documents["ServiceMonitor"]["spec"]["endpoints"]
    assert (scraped["port"], scraped["path"]) == (served["name"], "/metrics")
    volumes = documents["Deployment"]["spec"]["template"]["spec"]["volumes"]
    [secret] = [one["secret"] for one in volumes if "secret" in one]
    assert scraped["authorization"]["credentials"] == {"name": secret["secretName"], "key": "metrics-key"}


def test_pods_meet_the_restricted_security_standard(pod: Document, container: Document) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user()
    assert context["fsGroup"] == context["runAsGroup"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]


def test_every_writable_path_is_a_volume(pod: Document, container: Document) -> None:
    mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert {*arguments("VOLUME"), "/tmp", "/dev/shm"} <= mounted.keys()
    kinds = {one["name"]: one.keys() - {"name"} for one in pod["volumes"]}
    assert set(mounted.values()) == kinds.keys()
    assert all(len(kind) == 1 for kind in kinds.values())


def test_selectors_match_the_pods(documents: dict[str, Document]) -> None:
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


def test_the_autoscaler_uses_a_metric_of_the_server(
    documents: dict[str, Document], scheduler: Scheduler
) -> None:
    scaler = documents["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "anytime"}
    assert "replicas" not in documents["Deployment"]["spec"]
    [metric] = [one["pods"]["metric"]["name"] for one in scaler["metrics"]]
    exposition = Metrics.of(scheduler).exposition()[0].decode()
    assert f"\n{metric} " in exposition
    [rule] = yaml.safe_load((FOLDER / "autoscaling/adapter-values.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == metric
    assert rule["seriesQuery"].startswith(f"{metric}{{")


def test_only_the_gpu_overlay_requests_a_gpu(overlay: str, pod: Document, container: Document) -> None:
    with_gpu = overlay == "gpu"
    assert container["image"] == ("anytime:cuda" if with_gpu else "anytime:cpu")
    assert container["image"].removeprefix("anytime:") in bases()
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == with_gpu
    assert ("tolerations" in pod) == with_gpu
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
