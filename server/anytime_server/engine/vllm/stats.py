"""The latest statistics of vLLM's scheduler."""

from __future__ import annotations

from typing import Any

from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import StatLoggerBase


class LatestStats(StatLoggerBase):
    """Created by vLLM, one for each engine core."""

    kv_cache_use = 0.0
    """Share of the KV cache's blocks in use."""

    num_preemptions = 0
    """Preempted requests that run again."""

    def __init__(self, vllm_config: VllmConfig, engine_index: int = 0) -> None:
        pass

    def record(self, scheduler_stats: Any, iteration_stats: Any, *args: Any, **named: Any) -> None:
        if scheduler_stats is not None:
            self.kv_cache_use = scheduler_stats.kv_cache_usage
            # The only count that does not need the statistics of each request, which cost time.
            self.num_preemptions += scheduler_stats.prefix_cache_stats.preempted_requests

    def log_engine_initialized(self) -> None:
        pass
