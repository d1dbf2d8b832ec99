"""`anytime bench`: against a replay server, and its schedule, parsing and figures on their own."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from anytime_client.bench import main
from anytime_client.bench.dialects import DIALECTS, RequestTemplate
from anytime_client.bench.exchange import Exchange
from anytime_client.bench.load import Run, Sent, arrivals, closed_loop, open_loop
from anytime_client.bench.outcomes import Outcome, outcome_of
from anytime_client.bench.problems import Problem
from anytime_client.bench.report import percentile, report_of

from .conftest import NEVER, Recording, ReplayServer

ANYTIME = Path(sys.executable).with_name("anytime")
MODELS = json.dumps({"data": [{"id": "demo", "anytime": {"examples": ["7-3"]}}]}).encode()
NATIVE = "/v1/anytime"


@pytest.fixture
def model_server(server: ReplayServer, done: Recording) -> ReplayServer:
    """A server with one model, which replies to every request with the same stream."""
    server.reply("GET /v1/models", MODELS, content_type="application/json")
    server.reply(NATIVE, done.wire)
    return server


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    status = main([*argv, "--json"])
    return {"status": status} | json.loads(capsys.readouterr().out)


def bodies(server: ReplayServer, path: str = NATIVE) -> list[dict[str, Any]]:
    return [json.loads(body) for requested, body in server.requests if requested == path]


def test_figures_match_the_servers_usage(
    model_server: ReplayServer, done: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_json(capsys, model_server.url, "--users", "3", "--requests", "7", "--warmup", "2")
    usage = done.events[-1]["usage"]
    assert (report["status"], report["requests"], report["ok"]) == (0, 7, 7)
    assert report["refused"] == report["failed"] == {}
    assert report["thinking_tokens"] == 7 * usage["thinking_tokens"]
    assert report["answer_tokens"] == 7 * usage["answer_tokens"]
    assert report["causes"] == {done.events[-1]["stop"]["cause"]: 7}
    assert (report["over_budget"], report["empty_answers"], report["given_up"]) == (0, 0, 0)
    assert set(report["times"]["total_s"]) == {"p50", "p90", "p95", "p99"}
    assert len(bodies(model_server)) == 9


def test_options_become_request_fields(model_server: ReplayServer) -> None:
    options = ["--budget", "9", "--deadline-ms", "500", "--max-tokens", "4", "--body", '{"budgets": [3]}']
    assert main([model_server.url + "/v1", "--requests", "2", "--seed", "5", "--api-key", "k", *options]) == 0
    first, second = sorted(bodies(model_server), key=lambda body: body["thinking"]["seed"])
    assert first == {
        "model": "demo",
        "messages": [{"role": "user", "content": "7-3"}],
        "thinking": {"seed": 5},
        "budget": {"tokens": 9, "deadline_ms": 500},
        "answer": {"max_tokens": 4},
        "budgets": [3],
    }
    assert second["thinking"] == {"seed": 6}
    assert {headers["Authorization"] for headers in model_server.headers} == {"Bearer k"}


def test_accuracy_with_wilson_interval(
    model_server: ReplayServer, done: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    correct = done.events[-1]["answer"]
    problems = [{"question": "a", "answer": f" {correct}."}, {"prompt": "b", "answer": correct + "?"}]
    path = tmp_path / "problems.jsonl"
    path.write_text("\n\n".join(map(json.dumps, problems)), encoding="utf-8")
    accuracy = run_json(capsys, model_server.url, "--requests", "4", "--prompts", str(path))["accuracy"]
    assert (accuracy["value"], accuracy["n"]) == (0.5, 4)
    # Wilson's interval of 2 of 4: centre 0.5, half-width 1.96 / (1 + 0.96) * sqrt(1/16 + 0.96 / 16).
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((0.1500, 0.8500), abs=1e-4)


def test_refused_and_failed_requests_are_counted_separately(
    model_server: ReplayServer, cancelled: Recording, done: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = json.dumps({"error": {"code": "rate_limited", "message": "later"}}).encode()
    model_server.replies[NATIVE] = []
    model_server.reply(NATIVE, refusal, status=429, content_type="application/json")
    model_server.reply(NATIVE, cancelled.wire, after=1)
    model_server.reply(NATIVE, done.wire[:200], disconnects=True, after=2)
    model_server.reply(NATIVE, b"event: thinking\ndata: []\n\n", after=3)
    model_server.reply(NATIVE, b"<html>", status=502, content_type="text/html", after=4)
    report = run_json(capsys, model_server.url, "--requests", "5", "--users", "1")
    assert report["status"] == 1
    assert report["refused"] == {"429 rate_limited": 1, "502": 1}
    assert report["messages"] == {"429 rate_limited": "later"}
    assert report["failed"] == {"cancelled": 1, "broken": 1, "not_of_this_dialect": 1}
    assert report["times"] == {}


def test_table_shows_why_requests_were_refused(
    model_server: ReplayServer, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = json.dumps(
        {"error": {"code": "overloaded", "message": "12 requests\nwait \x1b[2J[/x] already"}}
    ).encode()
    model_server.replies[NATIVE] = []
    model_server.reply(NATIVE, refusal, status=503, content_type="application/json")
    assert main([model_server.url, "--requests", "3"]) == 1
    printed = capsys.readouterr()
    assert "503 overloaded: 12 requests wait [2J[/x] already" in printed.out
    assert not printed.err  # progress is shown only on terminals


def test_openai_dialect_works_with_other_servers(
    server: ReplayServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def chunk(**fields: Any) -> bytes:
        return b"data: " + json.dumps({"choices": [], **fields}).encode() + b"\n\n"

    server.reply("GET /v1/models", b'{"data": [{"id": "a"}, {"id": "b"}]}', content_type="application/json")
    server.reply(
        "/v1/chat/completions",
        chunk(choices=[{"delta": {"role": "assistant", "content": ""}}]),
        chunk(choices=[{"delta": {"reasoning": "hm"}}]),
        chunk(choices=[{"delta": {"content": "4"}}]),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 12}),
        b"data: [DONE]\n\n",
    )
    prompts = str(Path(__file__).parents[3] / "examples" / "problems.jsonl")
    chat = ["--dialect", "openai", "--budget", "8", "--requests", "2", "--prompts", prompts]
    assert main([server.url, *chat]) == 2
    assert "choose a --model: a, b" in capsys.readouterr().err
    report = run_json(capsys, server.url, "--model", "b", *chat)
    assert (report["ok"], report["answer_tokens"], report["prompt_tokens"]) == (2, 24, 6)
    assert {"cut_to_answer_s", "time_per_token_s"} <= set(report["times"])
    (body, _) = bodies(server, "/v1/chat/completions")
    assert body["thinking_token_budget"] == 8
    assert body["stream_options"] == {"include_usage": True}


def test_invalid_arguments_are_reported(
    model_server: ReplayServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invalid = tmp_path / "invalid.jsonl"
    invalid.write_text('{"question": "a"}\n{"answer": "b"}\n', encoding="utf-8")
    for argv, status, message in (
        (["http://127.0.0.1:1"], 1, "no server answers at http://127.0.0.1:1"),
        ([model_server.url, "--model", "x"], 2, "has no model 'x'"),
        (
            [model_server.url, "--prompts", str(invalid)],
            2,
            "invalid.jsonl, line 2: no text in any of",
        ),
        ([model_server.url, "--prompts", "missing.jsonl"], 2, "cannot read missing.jsonl: No such file"),
    ):
        assert main(argv) == status
        assert message in capsys.readouterr().err
    for argv in (
        ["--users", "0"],
        ["--rate", "-1"],
        ["--plot", "a.txt"],
        ["--body", "[]"],
        ["--body", '{"stream": false}'],
        ["--body", '{"n": 2}'],
        ["--body", '{"budget": 16}', "--budget", "8"],
        ["--rate", "5", "--users", "4"],
        ["--csv", "no/a"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main([model_server.url, *argv])
        assert argv[0] in capsys.readouterr().err
    assert bodies(model_server) == []


def test_csv_and_plot_are_written(model_server: ReplayServer, tmp_path: Path) -> None:
    rows, plot = tmp_path / "rows.csv", tmp_path / "plot.svg"
    assert main([model_server.url, "--requests", "3", "--csv", str(rows), "--plot", str(plot)]) == 0
    with rows.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["number"], row["verdict"]) for row in found] == [("0", "ok"), ("1", "ok"), ("2", "ok")]
    assert all(float(row["total_s"]) >= float(row["time_to_first_token_s"]) > 0 for row in found)
    assert "time to first token" in plot.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_with_a_report(
    model_server: ReplayServer, done: Recording, number: signal.Signals
) -> None:
    model_server.reply(NATIVE, done.wire, b":", waits_for=NEVER, after=1)
    command = [str(ANYTIME), "bench", model_server.url, "--users", "1", "--requests", "9", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            model_server.wait_until(lambda: len(bodies(model_server)) == 2, "no second request")
            process.send_signal(number)
            printed, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    report = json.loads(printed)
    assert process.returncode == 130
    assert (report["ok"], report["given_up"]) == (1, 1)


def test_arrival_times_are_reproducible_for_a_seed() -> None:
    times, again, other = (list(arrivals(50, count=2000, duration_s=None, seed=seed)) for seed in (3, 3, 4))
    assert times == again != other
    assert times[-1] == pytest.approx(40, rel=0.1)
    in_time = list(arrivals(50, count=None, duration_s=2, seed=3))
    assert in_time == times[: len(in_time)]
    assert in_time[-1] <= 2 < times[len(in_time)]


async def test_open_loop_does_not_wait_and_counts_from_the_due_time() -> None:
    run, num_in_flight, all_sent = Run(), 0, asyncio.Event()

    async def send(number: int) -> Exchange:
        nonlocal num_in_flight
        num_in_flight += 1
        if num_in_flight == 5:
            all_sent.set()
        await all_sent.wait()  # never set if the loop waited for a response
        return Exchange(sent_s=time.perf_counter(), chunks=[], ended_s=0.0, failure="unreachable")

    await open_loop(send, [0.0, 0.001, 0.002, 0.003, -7.0], run)
    assert sorted((sent.number, sent.due_s) for sent in run.sent)[-1] == (4, -7.0)
    (late,) = [sent for sent in run.sent if sent.number == 4]
    outcome = outcome_of(
        late,
        began_s=run.began_s,
        dialect=DIALECTS["native"],
        template=RequestTemplate(model=""),
        problem=Problem(prompt=""),
    )
    assert outcome.late_s >= 7


async def test_closed_loop_has_one_request_per_user_in_flight() -> None:
    run, in_flight, max_in_flight = Run(), 0, 0

    async def send(number: int) -> Exchange:
        nonlocal in_flight, max_in_flight
        in_flight += 1
        max_in_flight = max(max_in_flight, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return Exchange(sent_s=0.0, chunks=[], ended_s=0.0, failure=None)

    await closed_loop(send, run, users=4, count=21, duration_s=None)
    assert (sorted(sent.number for sent in run.sent), max_in_flight) == (list(range(21)), 4)


def _chunks(events: Sequence[tuple[float, dict[str, Any]]]) -> list[tuple[float, bytes]]:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = [(at, b"data: " + json.dumps(event).encode() + b"\n\n") for at, event in events]
    return [
        (0.0, head),
        *((at, b"%x\r\n%s\r\n" % (len(block), block)) for at, block in data),
        (data[-1][0], b"0\r\n\r\n"),
    ]


def test_times_are_those_of_the_deltas() -> None:
    usage = {"prompt_tokens": 3, "thinking_tokens": 4, "answer_tokens": 1}
    chunks = _chunks(
        [
            (11.0, {"type": "thinking"}),
            (11.5, {"type": "thinking"}),
            (11.6, {"type": "answer.started", "index": 1, "provisional": True}),
            (11.7, {"type": "answer.delta", "index": 1}),
            (12.0, {"type": "answer.started", "index": 2, "provisional": False}),
            (13.0, {"type": "answer.delta", "index": 2}),
            (14.0, {"type": "done", "answer": " ", "stop": {"cause": "budget"}, "usage": usage}),
        ]
    )
    sent = Sent(
        number=0, due_s=2.0, exchange=Exchange(sent_s=10.5, chunks=chunks, ended_s=14.0, failure=None)
    )
    outcome = outcome_of(
        sent,
        began_s=8.0,
        dialect=DIALECTS["native"],
        template=RequestTemplate(model="", budget=3, deadline_ms=2900),
        problem=Problem(prompt=""),
    )
    assert outcome == Outcome(
        number=0,
        due_s=2.0,
        late_s=0.5,
        verdict="ok",
        cause="budget",
        prompt_tokens=3,
        thinking_tokens=4,
        answer_tokens=1,
        time_to_first_token_s=1.0,
        inter_token_s=[0.5, 1.5],
        time_per_token_s=0.5,
        cut_to_answer_s=1.5,
        time_to_answer_s=3.0,
        total_s=3.0,
        is_over_budget=True,
        is_empty=True,
        is_late=True,
        is_right=None,
    )
    report = report_of([outcome], Run(wall_s=2.0, cpu_s=0.5))
    assert (report.tokens_per_s, report.over_budget, report.empty_answers, report.late_answers) == (
        2.5,
        1,
        1,
        1,
    )
    assert report.client.cpu_share == 0.25


def test_percentile_is_the_nearest_rank() -> None:
    assert [percentile([1, 2, 3, 4], percent) for percent in (0, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 4, 4]
