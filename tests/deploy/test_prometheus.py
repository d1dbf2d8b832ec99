"""Rules, alerts and dashboard on a real Prometheus that scrapes a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from ..servers import RealServer

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
UNPACKED = ROOT / ".venv/prometheus/usr/bin"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {
    "$__rate_interval": "30s",
    "$__range": "5m",
    "$instance": ".*",
    "$key": ".*",
    "$model": ".*",
}
METRIC = re.compile(r"\b(?:anytime_|instance(?:_\w+)?:)[\w:]+")
PATIENCE_S = 60
"""Limit for Prometheus to start, and to scrape the server twice."""


def executable(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], str(UNPACKED)]))
    if found is None:
        pytest.skip(f"{name} is not installed: scripts/setup-prometheus.sh")
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Name and expression of each query of the dashboard, with its variables replaced."""
    for panel in PANELS:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield f"{panel['title']} {target['refId']}", query


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "rules.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),  # the key's file is not in the repository
        ("test", "rules", "rules_test.yml"),
    ],
)
def test_promtool(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [executable("promtool"), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_each_alert_is_tested_and_documented() -> None:
    alerts = {rule["alert"]: rule for rule in RULES if "alert" in rule}
    tested = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    fires = {
        case["alertname"]: [bool(other.get("exp_alerts")) for other in test["alert_rule_test"]]
        for test in tested
        for case in test["alert_rule_test"]
    }
    assert fires.keys() == alerts.keys()
    assert all(set(outcomes) == {True, False} for outcomes in fires.values())
    documented = (ROOT / "docs/observe.md").read_text()
    for name, rule in alerts.items():
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/observe.md#{name.lower()}"
        assert f"### {name}\n" in documented


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """Queries a running Prometheus."""

    http: httpx2.AsyncClient

    async def query(self, expression: str) -> list[Any]:
        """The series that match now.

        Raises:
            AssertionError: the expression is invalid.
        """
        response = await self.http.get("/api/v1/query", params={"query": expression})
        assert response.status_code == 200, f"{expression}\n{response.text}"
        return response.json()["data"]["result"]

    async def numbers(self, expression: str) -> list[float]:
        """The values of all series, as soon as at least one is a number."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                values = [float(series["value"][1]) for series in await self.query(expression)]
                if any(value == value for value in values):
                    return values
                await asyncio.sleep(0.5)


async def send_requests_of_all_kinds(server: RealServer) -> None:
    """Requests that give every metric of the dashboard a value."""
    messages = [{"role": "user", "content": "What is 7 - 3 x 2 + 5 modulo 10?"}]
    async with server.client() as http:

        async def send(status: int = 200, **fields: Any) -> None:
            body = {"messages": messages, "stream": False} | fields
            assert (await http.post("/v1/anytime", json=body)).status_code == status

        await asyncio.gather(
            send(budget=8),
            send(budget=16, budgets=[4, 8]),
            send(budget={"deadline_ms": 400}),
            send(),
            send(status=422, budget=-1),
        )
        while not await cancel_one(http, messages):
            pass
        await http.get("/ready")


async def cancel_one(http: httpx2.AsyncClient, messages: list[dict[str, str]]) -> bool:
    """Whether a session was cancelled before its thinking had ended by itself."""
    async with http.stream("POST", "/v1/anytime", json={"messages": messages}) as response:
        started = await anext(line async for line in response.aiter_lines() if line.startswith("data: "))
        deleted = await http.delete(f"/v1/anytime/{json.loads(started.removeprefix('data: '))['id']}")
        return deleted.status_code == 204


@pytest.fixture(scope="module")
def prometheus_url(
    demo_server: RealServer, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str, None, None]:
    """A Prometheus with the deployed rules that scrapes the server each second."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / "rules.yml")]
    (folder / "metrics.key").write_text("any-key: the server needs none")
    config["scrape_configs"][0]["authorization"]["credentials_file"] = str(folder / "metrics.key")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [demo_server.url.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            executable("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
    )
    yield f"http://{address}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
async def prometheus(prometheus_url: str, demo_server: RealServer) -> AsyncGenerator[Prometheus, None]:
    """Has scraped the server before and after requests of all kinds."""
    async with httpx2.AsyncClient(base_url=prometheus_url, timeout=30) as http:
        prometheus = Prometheus(http=http)
        await send_requests_of_all_kinds(demo_server)
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_up(http):
                await asyncio.sleep(0.2)
        await prometheus.numbers("anytime_answers_total")
        await send_requests_of_all_kinds(demo_server)  # a rate needs a scrape before and one after
        yield prometheus


async def _is_up(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/-/ready")).status_code == 200
    except httpx2.ConnectError:
        return False


async def test_every_dashboard_query_returns_a_number(prometheus: Prometheus) -> None:
    for title, query in queries():
        try:
            assert await prometheus.numbers(query)
        except TimeoutError:
            pytest.fail(f"{title} returns no number: {query}")


async def test_every_dashboard_variable_has_a_series(prometheus: Prometheus) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            for series in await prometheus.query(metric):
                assert label in series["metric"] or label == "key"  # Prometheus drops empty labels
            assert await prometheus.query(metric)


async def test_every_recording_rule_returns_a_number(prometheus: Prometheus) -> None:
    for rule in RULES:
        if "record" in rule:
            assert await prometheus.numbers(rule["record"]), rule["record"]


async def test_no_alert_fires_and_every_alert_has_data(prometheus: Prometheus) -> None:
    """On a healthy server an alert matches no series, but the metrics in its expression must exist."""
    groups = (await prometheus.http.get("/api/v1/rules")).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    alerts = [rule for rule in rules if rule["type"] == "alerting"]
    assert {rule["name"] for rule in alerts if rule["state"] == "firing"} == set()
    for metric in {name for rule in alerts for name in METRIC.findall(rule["query"])}:
        assert await prometheus.numbers(metric), metric


async def test_metrics_match_the_requests_sent(prometheus: Prometheus) -> None:
    assert await prometheus.numbers("anytime_ready") == [1]
    assert await prometheus.numbers("anytime_budget_overrun_tokens_total") == [0]
    assert await prometheus.numbers('anytime_session_errors_total{code="cancelled"} >= 2')
    assert await prometheus.numbers("anytime_deadline_seconds_count >= 2")
    assert await prometheus.numbers('anytime_http_errors_total{status="422"} >= 2')
    assert await prometheus.numbers("anytime_provisional_tokens_total > 0")


def test_panels_are_complete_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_grafana_loads_data_source_and_dashboard() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/anytime.yaml").read_text())["providers"]
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())["services"]
    mounted = [volume.split(":")[1] for volume in compose["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/anytime.json" in mounted
    assert source["url"] == "http://prometheus:9090"
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    [target] = scraped[0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in compose
