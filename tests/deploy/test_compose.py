"""The compose files, without Docker: their schema, and that they agree with what they put together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from anytime_server.server.settings import load_settings
from dockerfile import configuration, parse

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "compose"
FILES = ("compose.yaml", "compose.gpu.yaml")
KEYS = "${ANYTIME_KEYS_FILE:-./keys.toml}"
"""The one file that does not come with the repository."""


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


BASE = read("compose.yaml")
SERVICES: dict[str, Any] = BASE["services"]
SERVERS = [read(name)["services"]["anytime"] for name in FILES]


def test_they_follow_the_compose_specification() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    files = [FOLDER / name for name in FILES]
    command = [program, "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("server", SERVERS, ids=FILES)
def test_the_server_is_a_target_of_the_dockerfile(server: dict[str, Any]) -> None:
    stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    target = server["build"]["target"]
    assert server["image"] == f"anytime:{target}"
    image = configuration(stages, target)
    [published] = SERVICES["anytime"]["ports"]
    assert [published.rpartition(":")[2]] == list(image.ports)
    [home] = SERVICES["anytime"]["volumes"]
    assert [home.rpartition(":")[2]] == list(image.volumes)


@pytest.mark.parametrize("server", SERVERS, ids=FILES)
def test_the_server_is_given_options_that_it_has(server: dict[str, Any]) -> None:
    command, *arguments = server["command"]
    assert command == "serve"
    settings = load_settings(arguments)
    [secret] = SERVICES["anytime"]["secrets"]
    assert settings.keys == f"/run/secrets/{secret}"
    assert not settings.allow_anonymous
    assert settings.drain_s < int(SERVICES["anytime"]["stop_grace_period"].removesuffix("s"))


def test_what_is_mounted_is_there() -> None:
    assert BASE["secrets"] == {"anytime_keys": {"file": KEYS}}
    sources = [mount.split(":")[0] for one in SERVICES.values() for mount in one["volumes"]]
    named = {source for source in sources if not source.startswith(".")}
    assert named == BASE["volumes"].keys()
    for source in set(sources) - named:
        assert (FOLDER / source).exists(), source


def test_the_example_of_a_gpu_changes_the_server_only() -> None:
    assert read("compose.gpu.yaml").keys() == {"services"}
    assert read("compose.gpu.yaml")["services"].keys() == {"anytime"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_fenced_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["image"].partition(":")[2] not in ("", "latest")


def test_what_is_waited_for_can_tell_that_it_is_healthy() -> None:
    """The server's check is the image's own."""
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            assert wait == {"condition": "service_healthy"}
            assert name == "anytime" or "healthcheck" in SERVICES[name]


def test_prometheus_and_grafana_find_what_they_read() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    [scrape] = prometheus["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["anytime:8000"]}]
    inside = {mount.split(":")[1] for mount in SERVICES["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in prometheus["rule_files"]} <= inside
    provisioning = ROOT / "deploy/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    [port] = SERVICES["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{port.rpartition(':')[2]}"
    [provider] = yaml.safe_load((provisioning / "dashboards/anytime.yaml").read_text())["providers"]
    dashboards = {
        mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"] if "dashboard.json" in mount
    }
    assert {str(Path(path).parent) for path in dashboards} == {provider["options"]["path"]}
