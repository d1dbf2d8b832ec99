"""The compose files, without Docker: their schema, and that services, image and configuration agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from anytime_server.server.settings import load_settings

from .dockerfile import ROOT, arguments, bases

FOLDER = ROOT / "deploy" / "compose"
FILES = ("compose.yaml", "compose.gpu.yaml")
OWN_FILES = {
    "anytime_keys": {"file": "${ANYTIME_KEYS_FILE:-./keys.toml}"},
    "anytime_metrics_key": {"file": "${ANYTIME_METRICS_KEY_FILE:-./metrics.key}"},
}
"""Mounted files that are not in the repository."""


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


BASE = read("compose.yaml")
SERVICES: dict[str, Any] = BASE["services"]
SERVERS = [read(name)["services"]["anytime"] for name in FILES]


def test_files_follow_the_compose_specification() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    files = [FOLDER / name for name in FILES]
    command = [program, "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("server", SERVERS, ids=FILES)
def test_the_image_is_a_target_of_the_dockerfile(server: dict[str, Any]) -> None:
    target = server["build"]["target"]
    assert server["image"] == f"anytime:{target}"
    assert bases()[target] == "runtime"
    [published] = SERVICES["anytime"]["ports"]
    assert [published.rpartition(":")[2]] == arguments("EXPOSE")
    [home] = SERVICES["anytime"]["volumes"]
    assert [home.rpartition(":")[2]] == arguments("VOLUME")


@pytest.mark.parametrize("server", SERVERS, ids=FILES)
def test_the_command_has_valid_options(server: dict[str, Any]) -> None:
    command, *options = server["command"]
    assert command == "serve"
    settings = load_settings(options)
    [secret] = SERVICES["anytime"]["secrets"]
    assert settings.keys == f"/run/secrets/{secret}"
    assert not settings.allow_anonymous
    assert settings.drain_s < int(SERVICES["anytime"]["stop_grace_period"].removesuffix("s"))


def test_mounted_files_and_volumes_exist() -> None:
    assert BASE["secrets"] == OWN_FILES
    assert {name for one in SERVICES.values() for name in one.get("secrets", ())} == OWN_FILES.keys()
    sources = [mount.split(":")[0] for one in SERVICES.values() for mount in one["volumes"]]
    named = {source for source in sources if not source.startswith(".")}
    assert named == BASE["volumes"].keys()
    for source in set(sources) - named:
        assert (FOLDER / source).exists(), source


def test_the_gpu_file_changes_only_the_server() -> None:
    assert read("compose.gpu.yaml").keys() == {"services"}
    assert read("compose.gpu.yaml")["services"].keys() == {"anytime"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_minimal_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["image"].partition(":")[2] not in ("", "latest")


def test_every_dependency_has_a_health_check() -> None:
    """The server's health check is part of its image."""
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            assert wait == {"condition": "service_healthy"}
            assert name == "anytime" or "healthcheck" in SERVICES[name]


def test_paths_and_addresses_of_prometheus_and_grafana_agree() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    [scrape] = prometheus["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["anytime:8000"]}]
    [secret] = SERVICES["prometheus"]["secrets"]
    assert scrape["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
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
