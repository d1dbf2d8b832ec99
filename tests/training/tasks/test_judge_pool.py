"""Processes that are killed, from inside and outside, and that do not outlive the one that asks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anytime_training.errors import TrainingFailed
from anytime_training.tasks import judge_pool
from anytime_training.tasks.judge_pool import JudgePool, shared_pool


@pytest.fixture
def pool() -> Iterator[JudgePool]:
    pool = JudgePool("math", num_processes=1)
    yield pool
    pool.close()


def judges(parent: int) -> list[int]:
    """Process ids of the judges that a process has."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if int(stat[1]) == parent and b"judge_process" in command and stat[0] != "Z":
            children.append(int(folder.name))
    return children


def test_a_judge_killed_from_outside_is_replaced(pool: JudgePool) -> None:
    others = set(judges(os.getpid()))
    assert pool.score("5", "5.", limit_s=20) == 1
    (judge,) = set(judges(os.getpid())) - others
    os.kill(judge, signal.SIGKILL)
    assert pool.score("5", "5.", limit_s=20) == 1
    (successor,) = set(judges(os.getpid())) - others
    assert successor != judge


def test_one_judge_serves_many_jobs_and_a_late_one_is_killed(pool: JudgePool) -> None:
    others = set(judges(os.getpid()))
    for text, score in (("5.", 1), ("6.", 0), ("5", 1)):
        assert pool.score("5", text, limit_s=20) == score
    (judge,) = set(judges(os.getpid())) - others
    assert pool.score("5", "9**9**9**9", limit_s=0.5) == 0
    assert set(judges(os.getpid())) == others
    assert pool.score("5", "5.", limit_s=20) == 1
    assert judge not in judges(os.getpid())


def test_closing_ends_the_judges_and_the_pool_can_be_used_again(pool: JudgePool) -> None:
    others = set(judges(os.getpid()))
    assert pool.score("5", "5.", limit_s=20) == 1
    pool.close()
    assert set(judges(os.getpid())) == others
    assert pool.score("5", "5.", limit_s=20) == 1


def test_a_judge_that_cannot_start_is_told_and_not_taken_for_wrong_answers(
    pool: JudgePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingFailed, match=r"the gym grader did not start: .*'nothing' not registered"):
        JudgePool("gym", {"dataset": "nothing", "options": {}}, num_processes=1).score({}, "5", limit_s=5)
    monkeypatch.setattr(judge_pool, "START_LIMIT_S", 0.0)
    for _ in range(2):  # the place is free again after a failure
        with pytest.raises(TrainingFailed, match="not ready after 0 s"):
            pool.score("5", "5.", limit_s=5)
    monkeypatch.undo()
    assert pool.score("5", "5.", limit_s=20) == 1


@pytest.mark.parametrize("job", ["5.", "9**9**9**9"])
def test_judges_end_when_the_process_that_asks_is_killed(job: str) -> None:
    program = (
        "from anytime_training.tasks.judge_pool import JudgePool\n"
        "pool = JudgePool('math', num_processes=1)\n"
        "pool.score('5', '5.', limit_s=20)\n"
        "print('ready', flush=True)\n"
        f"pool.score('5', {job!r}, limit_s=1)\n"
        "input()"
    )
    # Its limit is 1 s, and the judge's own stands 5 s above: a hanging one ends itself.
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        (judge,) = judges(asking.pid)
        asking.kill()
    deadline = time.monotonic() + 15
    while is_judge(judge):
        assert time.monotonic() < deadline, "the judge is an orphan that lives on"
        time.sleep(0.05)


def is_judge(process: int) -> bool:
    """Whether it still runs; an orphan that has ended may stay as a zombie where nobody reaps it."""
    try:
        return b"judge_process" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def test_equal_setups_share_a_pool() -> None:
    assert shared_pool("gym", {"a": 1, "b": 2}) is shared_pool("gym", {"b": 2, "a": 1})
    assert shared_pool("gym", {"a": 1}) is not shared_pool("gym", {"a": 2})
    assert shared_pool("math") is shared_pool("math")
