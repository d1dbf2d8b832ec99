"""Grader processes: killed by the pool and from outside, and gone with the calling process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anytime_training.errors import TrainingFailed
from anytime_training.tasks import grader_pool
from anytime_training.tasks.grader_pool import GraderPool, shared_pool


@pytest.fixture
def pool() -> Iterator[GraderPool]:
    pool = GraderPool("math", num_processes=1)
    yield pool
    pool.close()


def graders(parent: int) -> list[int]:
    """Process ids of a process's graders."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has exited meanwhile
            continue
        if int(stat[1]) == parent and b"grader_process" in command and stat[0] != "Z":
            children.append(int(folder.name))
    return children


def test_grader_killed_from_outside_is_replaced(pool: GraderPool) -> None:
    others = set(graders(os.getpid()))
    assert pool.score("5", "5.", limit_s=20) == 1
    (grader,) = set(graders(os.getpid())) - others
    os.kill(grader, signal.SIGKILL)
    assert pool.score("5", "5.", limit_s=20) == 1
    (successor,) = set(graders(os.getpid())) - others
    assert successor != grader


def test_one_grader_serves_many_jobs_and_is_killed_at_the_limit(pool: GraderPool) -> None:
    others = set(graders(os.getpid()))
    for text, score in (("5.", 1), ("6.", 0), ("5", 1)):
        assert pool.score("5", text, limit_s=20) == score
    (grader,) = set(graders(os.getpid())) - others
    assert pool.score("5", "9**9**9**9", limit_s=0.5) == 0
    assert set(graders(os.getpid())) == others
    assert pool.score("5", "5.", limit_s=20) == 1
    assert grader not in graders(os.getpid())


def test_close_kills_the_graders_and_the_pool_can_be_used_again(pool: GraderPool) -> None:
    others = set(graders(os.getpid()))
    assert pool.score("5", "5.", limit_s=20) == 1
    pool.close()
    assert set(graders(os.getpid())) == others
    assert pool.score("5", "5.", limit_s=20) == 1


def test_grader_that_cannot_start_is_an_error_and_not_a_wrong_answer(
    pool: GraderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingFailed, match=r"the gym grader did not start: .*'nothing' not registered"):
        GraderPool("gym", {"dataset": "nothing", "options": {}}, num_processes=1).score({}, "5", limit_s=5)
    monkeypatch.setattr(grader_pool, "START_LIMIT_S", 0.0)
    for _ in range(2):  # the slot is free again after a failure
        with pytest.raises(TrainingFailed, match="not ready after 0 s"):
            pool.score("5", "5.", limit_s=5)
    monkeypatch.undo()
    assert pool.score("5", "5.", limit_s=20) == 1


@pytest.mark.parametrize("job", ["5.", pytest.param("9**9**9**9", marks=pytest.mark.nightly)])
def test_graders_exit_when_the_calling_process_is_killed(job: str) -> None:
    program = (
        "from anytime_training.tasks.grader_pool import GraderPool\n"
        "pool = GraderPool('math', num_processes=1)\n"
        "pool.score('5', '5.', limit_s=20)\n"
        "print('ready', flush=True)\n"
        f"pool.score('5', {job!r}, limit_s=1)\n"
        "input()"
    )
    # The job's limit is 1 s; the grader exits by itself 5 s after it.
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        (grader,) = graders(asking.pid)
        asking.kill()
    deadline = time.monotonic() + 15
    while is_grader(grader):
        assert time.monotonic() < deadline, "the orphaned grader still runs"
        time.sleep(0.05)


def is_grader(process: int) -> bool:
    """Whether the process runs; an orphan that has exited may stay as a zombie if no process reaps it."""
    try:
        return b"grader_process" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def test_equal_setups_share_a_pool() -> None:
    assert shared_pool("gym", {"a": 1, "b": 2}) is shared_pool("gym", {"b": 2, "a": 1})
    assert shared_pool("gym", {"a": 1}) is not shared_pool("gym", {"a": 2})
    assert shared_pool("math") is shared_pool("math")
