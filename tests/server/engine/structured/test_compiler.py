"""Schemas are checked by a process that they cannot harm, one at a time, and each once."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psutil
import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured import compiler
from anytime_server.engine.structured.compiler import MAX_CHARACTERS
from anytime_server.engine.structured.compiler import ConstraintCompiler as Compiler
from anytime_server.errors import EngineDead, EngineFailed, InvalidRequest, NotSupported
from anytime_server.text.model import BUNDLED_MODEL

STAND_IN = """
import json, os, pathlib, signal, sys, time

folder = pathlib.Path(sys.argv[1])
(folder / "starts").open("a").write("start\\n")
greeting = {"fault": None, "end_ids": [1]} | json.loads(
    (folder / "greeting").read_text()
)
print(json.dumps(greeting), flush=True)
for line in sys.stdin:
    kind, text, *rest = json.loads(line)
    schema = json.loads(text)
    (folder / "asked").open("a").write(schema["title"] + "\\n")
    if schema["title"].startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.fork():
        os.wait()
        continue
    while schema["title"].startswith("slow") and not (folder / "go").exists():
        time.sleep(0.01)
    refusal = {"refusal": f"refused: {schema['title']}"} if "bad" in schema["title"] else {"text": text}
    print(json.dumps(refusal), flush=True)
    os._exit(0)
"""
"""A process that stands in for the real one: schemas say in their titles what becomes of them."""
LIMIT_S = 1
"""For the real process."""


def schema(title: str) -> Constraint:
    return Constraint("json_schema", json.dumps({"title": title}))


LARGE = Constraint("json_schema", json.dumps({"type": "array", "maxItems": 50_000, "items": {}}))
LONG = Constraint("json_schema", json.dumps({"type": "array", "maxItems": 1_000_000, "items": {}}))


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def children(*arguments: Any) -> list[psutil.Process]:
    """Processes of this one with these arguments among theirs."""
    texts = {str(argument) for argument in arguments}
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if texts <= set(child.cmdline())]


@pytest.fixture
async def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Compiler, None]:
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    (tmp_path / "greeting").write_text("{}")
    monkeypatch.setattr(compiler, "PROGRAM", (str(program),))
    one = Compiler(tmp_path, 512)
    yield one
    (tmp_path / "go").touch()
    await one.close()


@pytest.fixture(scope="module")
async def real() -> AsyncGenerator[Compiler, None]:
    one = Compiler(BUNDLED_MODEL, 512, limit_s=LIMIT_S)
    yield one
    await one.close()


async def asked(folder: Path, num: int) -> list[str]:
    """The titles that the stand-in was asked about, once there are `num`."""
    while len(titles := lines(folder / "asked")) < num:
        await asyncio.sleep(0.01)
    return titles


async def test_waiting_schemas_take_no_thread(stand_in: Compiler, tmp_path: Path) -> None:
    checks = [asyncio.create_task(stand_in.check(schema(f"slow {i}"))) for i in range(64)]
    await asked(tmp_path, 1)
    assert await asyncio.to_thread(lambda: "a prompt is rendered") == "a prompt is rendered"
    assert not any(check.done() for check in checks)
    (tmp_path / "go").touch()
    await asyncio.gather(*checks)
    assert await asked(tmp_path, 64) == [f"slow {i}" for i in range(64)]


async def test_verdict_is_kept(stand_in: Compiler, tmp_path: Path) -> None:
    for _ in range(2):
        await stand_in.check(schema("good"))
        with pytest.raises(InvalidRequest, match="refused: bad"):
            await stand_in.check(schema("bad"))
    assert await asked(tmp_path, 2) == ["good", "bad"]


async def test_schema_is_compiled_once_for_all_that_wait(stand_in: Compiler, tmp_path: Path) -> None:
    checks = [asyncio.create_task(stand_in.check(schema("slow"))) for _ in range(3)]
    await asked(tmp_path, 1)
    (tmp_path / "go").touch()
    await asyncio.gather(*checks)
    assert await asked(tmp_path, 1) == ["slow"]


async def test_least_lately_used_verdict_is_dropped(
    stand_in: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "MAX_VERDICTS", 2)
    for title in "abacab":
        await stand_in.check(schema(title))
    assert await asked(tmp_path, 4) == ["a", "b", "c", "b"]


async def test_client_that_goes_leaves_its_verdict_behind(stand_in: Compiler, tmp_path: Path) -> None:
    gone = asyncio.create_task(stand_in.check(schema("slow and bad")))
    await asked(tmp_path, 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    (tmp_path / "go").touch()
    await stand_in.check(schema("good"))
    with pytest.raises(InvalidRequest, match="slow and bad"):
        await stand_in.check(schema("slow and bad"))
    assert await asked(tmp_path, 2) == ["slow and bad", "good"]


async def test_process_that_cannot_be_started_fails_the_request(
    stand_in: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: Any, **options: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", fail)
        with pytest.raises(EngineFailed, match="Resource temporarily unavailable"):
            await stand_in.check(schema("first"))
    await stand_in.check(schema("first"))


async def test_process_that_hangs_is_replaced(
    stand_in: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stand_in.check(schema("first"))
    [child] = children(tmp_path)
    child.suspend()
    monkeypatch.setattr(compiler, "REPLY_S", 4.0)
    await stand_in.check(schema("second"))
    assert not child.is_running()


async def test_process_that_is_killed_is_started_again(stand_in: Compiler, tmp_path: Path) -> None:
    await stand_in.check(schema("first"))
    [child] = children(tmp_path)
    child.kill()
    child.wait()
    await stand_in.check(schema("second"))
    assert len(lines(tmp_path / "starts")) == 2
    with pytest.raises(EngineFailed, match="keeps ending"):
        await stand_in.check(schema("die"))
    assert len(lines(tmp_path / "starts")) == 3
    await stand_in.check(schema("third"))


async def test_process_is_started_before_the_first_schema_and_again_when_it_ends(
    stand_in: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "RESTART_PAUSE_S", 0.0)
    stand_in.start()
    stand_in.start()
    for num_starts in (1, 2, 3):
        async with asyncio.timeout(30):
            while len(lines(tmp_path / "starts")) < num_starts:
                await asyncio.sleep(0.01)
        await stand_in.check(schema(f"good {num_starts}"))
        [child] = children(tmp_path)
        child.kill()
    await stand_in.close()
    assert not children(tmp_path)


async def test_process_that_cannot_start_fails_the_request(stand_in: Compiler, tmp_path: Path) -> None:
    (tmp_path / "greeting").unlink()
    with pytest.raises(EngineFailed, match="does not start"):
        await stand_in.check(schema("good"))
    (tmp_path / "greeting").write_text("{}")
    await stand_in.check(schema("good"))


async def test_fault_of_the_vocabulary_refuses_every_schema(stand_in: Compiler, tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text('{"fault": "no braces"}')
    for title in "ab":
        with pytest.raises(NotSupported, match="no braces"):
            await stand_in.check(schema(title))
    assert len(lines(tmp_path / "starts")) == 1
    assert not lines(tmp_path / "asked")


async def test_text_that_is_too_long_is_refused_without_a_process(stand_in: Compiler, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="longer than 131072 characters"):
        await stand_in.check(schema("a" * MAX_CHARACTERS))
    assert not children(tmp_path)


async def test_ids_that_may_follow_the_json_are_those_of_the_process(stand_in: Compiler) -> None:
    assert stand_in.end_ids == frozenset()
    await stand_in.check(schema("good"))
    assert stand_in.end_ids == {1}


async def test_compilations_are_counted_and_slow_ones_logged(
    stand_in: Compiler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "go").touch()
    with caplog.at_level("INFO"):
        await stand_in.check(schema("good"))
        assert not caplog.messages
        monkeypatch.setattr(compiler, "SLOW_S", 0.0)
        for title in ("slow", "good"):
            await stand_in.check(schema(title))
    num_compiled, seconds = stand_in.compilations
    assert num_compiled == 2
    assert seconds > 0
    [message] = caplog.messages
    assert message.startswith("compiled a JSON schema of 17 characters in ")


async def test_close_ends_the_process_and_what_waits_for_it(stand_in: Compiler, tmp_path: Path) -> None:
    checks = [asyncio.create_task(stand_in.check(schema(f"slow {i}"))) for i in range(2)]
    await asked(tmp_path, 1)
    await stand_in.close()
    for check in (*checks, stand_in.check(schema("late"))):
        with pytest.raises(EngineDead):
            await check
    assert not children(tmp_path)


@pytest.mark.nightly
async def test_schema_over_the_time_limit_is_refused_and_the_next_is_compiled(
    real: Compiler,
) -> None:
    await real.check(schema("before"))
    [child] = children(BUNDLED_MODEL, LIMIT_S)
    with pytest.raises(
        InvalidRequest, match=f"takes too long to compile: more than {LIMIT_S} s of processor"
    ):
        await real.check(LONG)
    await real.check(schema("after"))
    assert children(BUNDLED_MODEL, LIMIT_S) == [child], "which has loaded the vocabulary"


@pytest.mark.nightly
async def test_schema_over_the_memory_limit_is_refused() -> None:
    one = Compiler(BUNDLED_MODEL, 512, limit_bytes=1 << 20)
    with pytest.raises(InvalidRequest, match="cannot be enforced: its compiler crashes on it"):
        await one.check(LARGE)
    await one.close()


async def test_process_has_no_socket_of_the_server(stand_in: Compiler, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        await stand_in.check(schema("good"))
        [child] = children(tmp_path)
        assert not child.net_connections()


SERVER = """
import asyncio, sys
from pathlib import Path
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured.compiler import ConstraintCompiler

async def serve():
    await ConstraintCompiler(Path(sys.argv[1]), 512).check(Constraint("json_schema", "{}"))
    print("ready", flush=True)
    await asyncio.sleep(1000)

asyncio.run(serve())
"""


@pytest.mark.nightly
async def test_suspended_process_ends_with_a_server_that_was_killed() -> None:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(BUNDLED_MODEL)), stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"ready\n"
    started = psutil.Process(server.pid).children()
    for process in started:
        process.suspend()  # so that it does not see the end of its input
    server.kill()
    await server.communicate()
    _, alive = await asyncio.to_thread(psutil.wait_procs, started, timeout=60)
    assert not alive


async def test_answer_is_checked_by_the_letter(real: Compiler) -> None:
    unique = json.dumps({"type": "array", "items": {"uniqueItems": True}})
    assert await real.violation(unique, "[[1, 2]]") is None
    assert await real.violation(unique, "[[1, 1]]") == "#/items/uniqueItems"
    assert await real.violation(unique, "[[1, 1]") == "#"


async def test_schema_of_another_server_is_not_loaded(real: Compiler) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        elsewhere = f"http://127.0.0.1:{listening.getsockname()[1]}/schema.json"
        with pytest.raises(NotSupported, match="cannot be checked"):
            await real.violation(json.dumps({"$ref": elsewhere}), "1")
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.nightly
async def test_pattern_that_takes_too_long_leaves_the_answer_unchecked(real: Compiler) -> None:
    schema = json.dumps({"pattern": "^(?=a)(a+)+$"})
    with pytest.raises(NotSupported, match="takes too long to check"):
        await real.violation(schema, json.dumps("a" * 40 + "b"))
    assert await real.violation(schema, json.dumps("aaa")) is None
