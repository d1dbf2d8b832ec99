"""The metrics under vLLM's names: the names that its dashboards use, with the values of our own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.auth import RequestLimits
from anytime_server.scheduler.operator_limits import OperatorLimits
from anytime_server.telemetry.metrics import Metrics
from anytime_server.telemetry.vllm_names import SOURCES
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from .test_metrics import run


async def families(start_scheduler: Callable[..., Any]) -> tuple[dict[str, Metric], list[Any]]:
    """All metrics by name, after requests for the model and for an alias, and what these used."""
    limits = OperatorLimits(aliases={"gpt-5": RequestLimits()})
    scheduler = await start_scheduler(never_end=True, options={"limits": limits})
    metrics = Metrics.of(scheduler, with_vllm_names=True)
    sessions = [await run(scheduler, budget_tokens=4, budgets=(2,))]
    sessions += [await run(scheduler, model="gpt-5", budget_tokens=budget) for budget in (5, 6)]
    text = metrics.exposition()[0].decode()
    return {family.name: family for family in text_string_to_metric_families(text)}, sessions


def values(family: Metric, sample_name: str) -> dict[str, float]:
    """Values by the name of the model; of a family with no further labels."""
    found: dict[str, float] = {}
    for sample in family.samples:
        if sample.name == sample_name:
            assert sample.labels.keys() == {"model_name", "engine"}
            assert sample.labels["model_name"] not in found
            found[sample.labels["model_name"]] = sample.value
    return found


async def test_values_are_those_of_our_own_metrics(start_scheduler: Callable[..., Any]) -> None:
    found, (first, *others) = await families(start_scheduler)

    def used(count: Callable[[Any], int]) -> dict[str, float]:
        return {"tiny": count(first.done.usage), "gpt-5": sum(count(one.done.usage) for one in others)}

    for name, count in {
        "vllm:prompt_tokens_total": lambda usage: usage.prompt_tokens,
        "vllm:generation_tokens_total": lambda usage: usage.output_tokens,
        "vllm:request_prompt_tokens_sum": lambda usage: usage.prompt_tokens,
        "vllm:request_generation_tokens_sum": lambda usage: usage.output_tokens,
        "vllm:prefix_cache_queries_total": lambda usage: usage.prompt_tokens,
        "vllm:prefix_cache_hits_total": lambda usage: usage.prompt_cached_tokens,
        "vllm:e2e_request_latency_seconds_count": lambda usage: 1,
        "vllm:time_to_first_token_seconds_count": lambda usage: 1,
    }.items():
        family = found[name.removesuffix("_total").removesuffix("_sum").removesuffix("_count")]
        assert values(family, name) == used(count), name
    assert values(found["vllm:num_requests_running"], "vllm:num_requests_running") == {"tiny": 0}
    ends = [
        (sample.labels["model_name"], sample.labels["finished_reason"], sample.value)
        for sample in found["vllm:request_success"].samples
        if sample.name.endswith("_total")
    ]
    assert sorted(ends) == [("gpt-5", "stop", 2), ("tiny", "stop", 1)]


async def test_histograms_have_their_buckets(start_scheduler: Callable[..., Any]) -> None:
    found, _ = await families(start_scheduler)
    own, renamed = (
        [
            (sample.labels["le"], sample.value)
            for sample in found[name].samples
            if sample.name.endswith("_bucket") and "gpt-5" in sample.labels.values()
        ]
        for name in ("anytime_request_seconds", "vllm:e2e_request_latency_seconds")
    )
    assert own == renamed
    assert own[-1] == ("+Inf", 2)


async def test_names_and_kinds_are_vllms(start_scheduler: Callable[..., Any]) -> None:
    found, _ = await families(start_scheduler)
    without_engine = {"vllm:kv_cache_usage_perc", "vllm:num_preemptions"}  # this engine does not know them
    assert {name for name in found if name.startswith("vllm:")} == SOURCES.keys() - without_engine
    vllm = importlib.util.find_spec("vllm")  # not imported, which takes seconds
    if vllm is None or vllm.origin is None:
        pytest.skip("vLLM is not installed")
    source = (Path(vllm.origin).parent / "v1/metrics/loggers.py").read_text()
    for name in SOURCES:
        assert f'name="{name}"' in source, name


async def test_openmetrics_has_them_too(start_scheduler: Callable[..., Any]) -> None:
    scheduler = await start_scheduler(never_end=True)
    metrics = Metrics.of(scheduler, with_vllm_names=True)
    await run(scheduler, budget_tokens=4)
    text = metrics.exposition("application/openmetrics-text;version=1.0.0")[0].decode()
    found = {family.name: family for family in openmetrics(text)}
    assert values(found["vllm:time_to_first_token_seconds"], "vllm:time_to_first_token_seconds_count") == {
        "tiny": 1
    }


async def test_names_are_not_there_by_default(start_scheduler: Callable[..., Any]) -> None:
    metrics = Metrics.of(await start_scheduler())
    assert b"vllm:" not in metrics.exposition()[0]
