"""What this project adds to vLLM's workers. vLLM imports it in a worker's process, before it loads the model.

Being imported, it begins to watch the server, so that an engine ends also with a server that
was killed and could tell nobody.
"""

from __future__ import annotations

import os
import select
import signal
import threading

from anytime_server.engine.environment import SERVER_PID


class WorkerExtension:
    """What vLLM mixes into its worker; nothing so far."""


def end_with(server_pid: int) -> None:
    """Kill this process as soon as the server is gone.

    Where it is not the engine core itself, the core ends, as it does whenever a worker dies.
    """

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        server = os.pidfd_open(server_pid)
    except ProcessLookupError:
        end()  # gone already
        return
    except OSError:
        return  # a kernel before 5.3, or a sandbox: then who kills a server must kill its engine, too
    gone = select.poll()
    gone.register(server, select.POLLIN)

    def watch() -> None:
        gone.poll()
        end()

    threading.Thread(target=watch, name="end-with-server", daemon=True).start()


if SERVER_PID in os.environ:
    end_with(int(os.environ[SERVER_PID]))
