"""Processes of engines: they end with the process that started them, and can be ended at any moment.

Knows no particular engine.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""
_libc = ctypes.CDLL(None)
_forking = threading.local()


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, even if this process is suspended.

    To the kernel, the parent is the thread that started this process.

    Args:
        parent_pid: the parent's process id; if the parent has ended already, this process ends now.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def forks_end_with_parent() -> Iterator[None]:
    """Processes that this thread forks end with it, and so do theirs."""
    _forking.parent_pid = os.getpid()
    try:
        yield
    finally:
        del _forking.parent_pid


def _after_fork() -> None:
    if (parent_pid := getattr(_forking, "parent_pid", None)) is not None:
        end_with_parent(parent_pid)
        _forking.parent_pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


def kill_descendants(process_id: int) -> None:
    """Kill the processes that a process started, and theirs; also those that are suspended."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(process_id).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


class ProcessThread:
    """Runs functions that start processes, in a thread that lives as long as the processes.

    A function that never returns does not keep this process from ending.
    """

    def __init__(self, name: str) -> None:
        self._work = queue.SimpleQueue[Callable[[], None] | None]()
        self._thread = threading.Thread(target=self._run_all, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], None]) -> asyncio.Future[None]:
        """Run a function after those before it; its exception is the future's."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # not everybody asks

        def finish(error: BaseException | None) -> None:
            if future.done():
                return
            future.set_result(None) if error is None else future.set_exception(error)

        def work() -> None:
            error = None
            try:
                function()
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the event loop has been closed
                loop.call_soon_threadsafe(finish, error)

        self._work.put(work)
        return future

    def kill_processes(self) -> None:
        """Kill the processes that this thread has started through multiprocessing, and their descendants."""
        try:
            path = Path(f"/proc/self/task/{self._thread.native_id}/children")
            started = {int(process_id) for process_id in path.read_text().split()}
        except OSError:
            return  # the thread has ended, and they with it; or the kernel does not list them
        for process in multiprocessing.active_children():
            if process.pid in started:
                kill_descendants(process.pid)
                process.kill()

    def end(self) -> None:
        """End the thread after the functions that it has, and with it the processes that it forked."""
        self._work.put(None)

    def _run_all(self) -> None:
        with forks_end_with_parent():
            while (work := self._work.get()) is not None:
                work()
                del work
