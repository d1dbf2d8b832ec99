"""vLLM's worker on a CPU: a KV cache that fits the free memory, seeds in every case, Mamba-2 with its cache.

vLLM imports it in the process of a worker.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from vllm.utils.cpu_resource_utils import get_allowed_cpu_list, get_memory_node_info
from vllm.v1.kv_cache_interface import KVCacheSpec, MambaSpec
from vllm.v1.worker import cpu_worker
from vllm.v1.worker.cpu_model_runner import CPUModelRunner

from anytime_server.engine.vllm.arguments import SIZED_BY_WORKER

LEAST_BYTES = 256 << 20
"""Of the KV cache, for small models: prompts stay cached longer than their requests run."""
SHARE = 0.5
"""Of the free memory: the rest is for activations, for the server and for what else runs on the machine."""


class CpuWorker(cpu_worker.CPUWorker):
    """Chooses the size of the KV cache once the weights are loaded, unless the size is given."""

    def determine_available_memory(self) -> int:
        """Bytes for the KV cache: what all sequences can use, within a share of the free memory."""
        if self.cache_config.kv_cache_memory_bytes != SIZED_BY_WORKER:
            return super().determine_available_memory()
        config, parallel = self.vllm_config, self.vllm_config.parallel_config
        node = get_memory_node_info(get_allowed_cpu_list()[0].numa_node)  # within the container's limit
        return kv_cache_bytes(
            sequence_bytes=sum(
                spec.max_memory_usage_bytes(config) for spec in self.get_kv_cache_spec().values()
            ),
            num_seqs=config.scheduler_config.max_num_seqs,
            free_bytes=node.available_memory,
            num_workers=parallel.world_size * parallel.data_parallel_size,
        )

    def get_kv_cache_spec(self) -> dict[str, KVCacheSpec]:
        return {name: without_checkpoints(spec) for name, spec in super().get_kv_cache_spec().items()}


def without_checkpoints(spec: KVCacheSpec) -> KVCacheSpec:
    """The same cache without states from the middle of a step.

    vLLM's CPU kernels for Mamba-2 do not return those: the engine would die at a prompt of several blocks.
    The scheduler ends steps at the borders of blocks instead, as for other linear attention.
    """
    return replace(spec, num_prefill_checkpoint_blocks=0) if isinstance(spec, MambaSpec) else spec


def kv_cache_bytes(*, sequence_bytes: int, num_seqs: int, free_bytes: int, num_workers: int) -> int:
    """Size of one worker's KV cache.

    Args:
        sequence_bytes: for one sequence that fills the window.
        num_seqs: sequences that may run at the same time.
        free_bytes: on the worker's memory node.
        num_workers: workers that share it.
    """
    wanted = max(LEAST_BYTES, num_seqs * sequence_bytes)
    return min(wanted, int(SHARE * free_bytes) // num_workers)


class SeededCpuModelRunner(CPUModelRunner):
    """Rewinds the seeded generators of prompts that take several steps.

    vLLM samples after each step and drops that token; it rewinds a generator by an offset, which those of a
    CPU do not have: the engine would die.
    """

    def _sample(self, *args: Any, **named: Any) -> Any:
        states = {index: self.input_batch.generators[index].get_state() for index in self._unfinished()}
        output = super()._sample(*args, **named)
        for index, state in states.items():
            self.input_batch.generators[index].set_state(state)
        return output

    def _bookkeeping_sync(self, *args: Any, **named: Any) -> Any:
        generators = self.input_batch.generators
        rewound = {index: generators.pop(index) for index in self._unfinished()}
        try:
            return super()._bookkeeping_sync(*args, **named)
        finally:
            generators.update(rewound)

    def _unfinished(self) -> list[int]:
        """Requests in this step with a seed and more of the prompt to come."""
        dropped = np.nonzero(self.discard_request_mask.np[: self.input_batch.num_reqs])[0]
        return [int(index) for index in dropped if int(index) in self.input_batch.generators]


cpu_worker.__dict__["CPUModelRunner"] = SeededCpuModelRunner
