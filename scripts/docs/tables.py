"""Markdown tables of the server's options and metrics, and of the fields of manifest and recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from anytime_server.reasoning import FAMILIES, Family, Manifest
from anytime_server.server.settings import ServeSettings
from anytime_server.telemetry.metrics import Metrics
from anytime_server.telemetry.vllm_names import SOURCES
from anytime_server.text.tool_formats import TOOL_FORMATS
from anytime_training.baselines import BASELINES
from anytime_training.config.brpo import BrpoRecipe
from anytime_training.demo.recipe import FineTuningRecipe, WarmstartRecipe
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel
from schemas import Row, rows, table


def settings() -> str:
    """Every option of `anytime serve`."""
    fields = list(_all_rows(ServeSettings))
    return table(
        {
            "flag, environment, TOML": [_names(row.path) for row in fields],
            "values": [row.type for row in fields],
            "default": [row.default for row in fields],
            "": [row.description for row in fields],
        }
    )


def _names(path: str) -> str:
    flag, variable = f"--{path.replace('_', '-')}", f"ANYTIME_{path.replace('.', '__').upper()}"
    return "<br>".join(f"`{name}`" for name in (flag, variable, path) if name != "config")


def manifest() -> str:
    """Every field of `anytime.json`."""
    return _fields(Manifest)


def families() -> str:
    """Every family of models that is recognised."""
    known = sorted(FAMILIES.values(), key=lambda family: family.name)
    return table(
        {
            "family": [f"`{family.name}`" for family in known],
            "models": [family.models for family in known],
            "thinking": [_code(f"{one.texts.think_start} … {one.texts.think_end}") for one in known],
            "no thinking": [_no_thinking(family) for family in known],
            "": [family.note for family in known],
        }
    )


def _no_thinking(family: Family) -> str:
    if not family.texts.think_start:
        return ""
    match family.texts.no_thinking:
        case None:
            return "closed at once"
        case "":
            return "no opener"
        case form:
            return _code(form)


def tool_parsers() -> str:
    """Names for `--tool-parser` whose marks are known, by the reader of the calls."""
    names = {True: list[str](), False: list[str]()}
    for name, tool_format in sorted(TOOL_FORMATS.items()):
        names[tool_format.read is None].append(f"`{name}`")
    return table(
        {
            "calls are read by": ["vLLM's parser of this name", "the server"],
            "`--tool-parser`": [", ".join(names[True]), ", ".join(names[False])],
        }
    )


def _code(text: str) -> str:
    shown = text.replace("\n", "\\n").strip(" …")
    return f"`{shown}`" if shown else ""


def brpo_recipe() -> str:
    """Every key of a reinforcement learning recipe."""
    return _fields(BrpoRecipe)


def baselines() -> str:
    """Every baseline of the thinking."""
    unbiased = {True: "yes", False: "no", None: "with `leave_one_out`"}
    return table(
        {
            "`credit.baseline`": [f"`{name}`" for name in BASELINES],
            "": [entry.formula for entry in BASELINES.values()],
            "unbiased": [unbiased[entry.is_unbiased] for entry in BASELINES.values()],
        }
    )


def warmstart_recipe() -> str:
    """Every key of a warm start recipe."""
    return _fields(WarmstartRecipe)


def fine_tuning_recipe() -> str:
    """Every key of a recipe that trains a model from a folder."""
    return _fields(FineTuningRecipe)


def metrics(source: Metrics) -> str:
    """Every metric at `/metrics`."""
    found = list(source.registry.collect())
    labels = [_labels(source, metric) for metric in found]
    return table(
        {
            "metric": [f"`{_exposed(metric)}`" for metric in found],
            "kind": [metric.type for metric in found],
            "labels": [", ".join(f"`{label}`" for label in names) for names in labels],
            "": [metric.documentation for metric in found],
        }
    )


def vllm_metrics() -> str:
    """vLLM's names of metrics, and the metrics that they stand for."""
    return table(
        {
            "vLLM's name": [f"`{name}`" for name in SOURCES],
            "taken from": [f"`{source.name}`{_kinds(source.kinds)}" for source in SOURCES.values()],
        }
    )


def _kinds(kinds: Sequence[str]) -> str:
    return f", `kind` {', '.join(kinds)}" if kinds else ""


def _fields(model: type[BaseModel]) -> str:
    fields = list(_all_rows(model))
    return table(
        {
            "key": [f"`{row.path}`" for row in fields],
            "values": [row.type for row in fields],
            "default": ["required" if row.is_required else row.default for row in fields],
            "": [row.description for row in fields],
        }
    )


def _all_rows(model: type[BaseModel]) -> Iterator[Row]:
    """A row per field, those of nested models under their dotted names, for each kind of them."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def link(name: str) -> str:
        return "object" if "properties" in definitions[name] else _enum(definitions[name])

    def of(schema: dict[str, Any], prefix: str) -> Iterator[Row]:
        for row in rows(schema, link, prefix=prefix):
            field = schema["properties"][row.path.removeprefix(prefix)]
            inner = _table_of(field, definitions)
            if inner is None:
                yield row
            else:
                yield from of(inner, f"{row.path}.")
            for kind, reference in field.get("discriminator", {}).get("mapping", {}).items():
                for inner_row in of(_defined(reference, definitions), f"{row.path}."):
                    if inner_row.path != f"{row.path}.kind":
                        yield replace(inner_row, description=f"`{kind}`: {inner_row.description}")

    return of(schema, "")


def _table_of(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of the model in a field, if the field holds exactly one model."""
    match field:
        case {"$ref": str(reference)}:
            found = _defined(reference, definitions)
            return found if "properties" in found else None
    return None


def _defined(reference: str, definitions: dict[str, Any]) -> dict[str, Any]:
    return definitions[reference.rpartition("/")[2]]


def _enum(definition: dict[str, Any]) -> str:
    return ", ".join(f"`{value}`" for value in definition["enum"])


def _exposed(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


def _labels(metrics: Metrics, metric: Metric) -> tuple[str, ...]:
    collectors = metrics.registry._names_to_collectors  # the public API only shows labels that have a value
    return tuple(getattr(collectors.get(_exposed(metric)), "_labelnames", ()))
