"""Extension of vLLM's workers. vLLM imports it in the process of a worker, before it loads the model.

The import starts to watch the server, so that the engine ends even if the server is killed.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_server.engine.environment import SERVER_PID
from anytime_server.engine.processes import end_with_parent
from anytime_server.engine.vllm.failures import report_failures
from anytime_server.engine.weights import require_checksum
from anytime_server.errors import WeightSyncFailed

if TYPE_CHECKING:
    import torch
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner


class WorkerExtension:
    """Base class that vLLM adds to its worker."""

    if TYPE_CHECKING:
        model_runner: GPUModelRunner

        def reload_weights(self, *, weights_iterator: Iterator[tuple[str, torch.Tensor]]) -> None: ...

    def replace_weights(self, path: str, sha256: str) -> str | None:
        """Replace the model's weights by those of a safetensors file.

        Returns:
            The fault of the file; None after success.
        """
        import safetensors.torch

        try:
            require_checksum(Path(path), sha256)
        except WeightSyncFailed as error:
            return str(error)
        new = safetensors.torch.load_file(path)  # memory-mapped, so that the file is not in memory twice
        model: Any = self.model_runner.get_model()
        head: Any = getattr(model, "lm_head", None)
        embedding: Any = getattr(getattr(model, "model", None), "embed_tokens", None)
        config = self.model_runner.vllm_config.model_config
        # If a checkpoint stores a head, vLLM's configuration says that the head is not tied, even if vLLM
        # finds that the head equals the embedding and ties it.
        is_tied = getattr(config.hf_text_config, "tie_word_embeddings", False) or (
            hasattr(head, "weight") and hasattr(embedding, "weight") and head.weight is embedding.weight
        )
        if config.word_embeddings_untied_by_checkpoint and not is_tied and "lm_head.weight" not in new:
            return "the new weights lack lm_head.weight, in which the checkpoint differs from its embedding"
        self.reload_weights(weights_iterator=iter(new.items()))
        if is_tied and hasattr(head, "cpu_linear"):
            self._renew_tied_head(head, embedding)
        return None

    def _renew_tied_head(self, head: Any, embedding: Any) -> None:
        """Rebuild an output head that shares the embedding's weights.

        On a CPU, vLLM keeps a rearranged copy of the head, which reloading does not update.
        """
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        head.weight = embedding.weight
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)


def end_with(server_pid: int) -> None:
    """Kill this process when the server ends.

    If this process is a worker beside the engine core, the core ends too, as after every death of a worker.
    The thread that watches the server does not run while this process is suspended; the kernel watches the
    parent, which ends with the server.
    """
    end_with_parent(os.getppid())

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        server = os.pidfd_open(server_pid)
    except ProcessLookupError:
        end()  # the server has ended already
        return
    except OSError:
        return  # a kernel before 5.3, or a sandbox: the engine then outlives a killed server
    server_end = select.poll()
    server_end.register(server, select.POLLIN)

    def watch() -> None:
        server_end.poll()
        end()

    threading.Thread(target=watch, name="end-with-server", daemon=True).start()


report_failures()
if SERVER_PID in os.environ:
    end_with(int(os.environ[SERVER_PID]))
