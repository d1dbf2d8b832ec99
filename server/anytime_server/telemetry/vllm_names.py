"""The metrics under the names of vLLM's own server, so that dashboards made for it work. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The metric that one of vLLM's is taken from."""

    name: str
    """As in the registry: without `_total`."""
    kinds: tuple[str, ...] = ()
    """Of tokens, which are summed; empty for a metric without kinds."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that are kept, under vLLM's names."""


SOURCES: Mapping[str, _Source] = {
    "vllm:num_requests_running": _Source(name="anytime_sessions_running"),
    "vllm:num_requests_waiting": _Source(name="anytime_sessions_waiting"),
    "vllm:kv_cache_usage_perc": _Source(name="anytime_engine_kv_cache_ratio"),
    "vllm:num_preemptions": _Source(name="anytime_engine_preemptions"),
    "vllm:prefix_cache_queries": _Source(name="anytime_tokens", kinds=("prompt",)),
    "vllm:prefix_cache_hits": _Source(name="anytime_tokens", kinds=("cached",)),
    "vllm:prompt_tokens": _Source(name="anytime_tokens", kinds=("prompt",)),
    "vllm:generation_tokens": _Source(name="anytime_tokens", kinds=("thinking", "answer", "provisional")),
    "vllm:request_success": _Source(name="anytime_finish_reasons", labels={"reason": "finished_reason"}),
    "vllm:request_prompt_tokens": _Source(name="anytime_prompt_tokens"),
    "vllm:request_generation_tokens": _Source(name="anytime_output_tokens"),
    "vllm:request_max_num_generation_tokens": _Source(name="anytime_output_tokens"),
    "vllm:time_to_first_token_seconds": _Source(name="anytime_time_to_first_token_seconds"),
    "vllm:inter_token_latency_seconds": _Source(name="anytime_thinking_token_seconds"),
    "vllm:request_time_per_output_token_seconds": _Source(name="anytime_thinking_token_seconds"),
    "vllm:e2e_request_latency_seconds": _Source(name="anytime_request_seconds"),
    "vllm:request_queue_time_seconds": _Source(name="anytime_queue_seconds"),
    "vllm:request_prefill_time_seconds": _Source(name="anytime_prefill_seconds"),
    "vllm:request_decode_time_seconds": _Source(name="anytime_decode_seconds"),
}
"""By vLLM's name, without `_total`."""
ENGINE = "0"
"""Number of the engine, which vLLM has as a label."""


class WithVllmNames(Collector):
    """All metrics of a collector, those of `SOURCES` a second time under vLLM's names."""

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        families = {family.name: family for family in self._source.collect()}
        yield from families.values()
        model = next((sample.labels["model"] for sample in families["anytime_build_info"].samples), "")
        for name, source in SOURCES.items():
            if source.name in families:
                yield _renamed(families[source.name], name, source, model=model)


def _renamed(family: Metric, name: str, source: _Source, *, model: str) -> Metric:
    renamed = Metric(name, family.documentation, family.type)
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for sample_name, labels, value in _samples(family, source, model=model):
        sample = (name + sample_name.removeprefix(source.name), tuple(labels.items()))
        sums[sample] = sums.get(sample, 0) + value
    for (sample_name, labels), value in sums.items():
        renamed.add_sample(sample_name, dict(labels), value)
    return renamed


def _samples(family: Metric, source: _Source, *, model: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Samples of a family, with vLLM's labels; several can have the same."""
    for sample in family.samples:
        if sample.name.endswith("_created") or (source.kinds and sample.labels["kind"] not in source.kinds):
            continue
        kept = {new: sample.labels[old] for old, new in source.labels.items()}
        bounds = {"le": sample.labels["le"]} if "le" in sample.labels else {}
        labels = {"model_name": sample.labels.get("model", model), "engine": ENGINE}
        yield sample.name, labels | kept | bounds, sample.value
