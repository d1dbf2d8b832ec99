"""What this project adds to vLLM's workers. Imported by vLLM, in a process of its own."""

from __future__ import annotations

import os
import select
import signal
import threading


class WorkerExtension:
    """Methods that vLLM mixes into its worker, for `collective_rpc`."""

    def end_with_server(self, server_pid: int) -> None:
        """End, and take the engine core along, when the server is gone: one that is killed tells nobody.

        Args:
            server_pid: process that started the engine.
        """
        own_pid, core_pid = os.getpid(), os.getppid()
        server = os.pidfd_open(server_pid)

        def watch() -> None:
            select.select([server], [], [])
            if core_pid != server_pid:  # else this is the core
                os.kill(core_pid, signal.SIGKILL)
            os.kill(own_pid, signal.SIGKILL)

        threading.Thread(target=watch, name="end-with-server", daemon=True).start()
