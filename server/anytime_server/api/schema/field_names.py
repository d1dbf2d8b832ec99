"""A dialect's names of the fields of a `GenerateRequest`, by which errors and ignored fields are reported."""

from __future__ import annotations

from collections.abc import Mapping

from anytime_server.api.schema.sampling import SamplingFields

OWN: Mapping[str, str] = {
    **{f"{phase}.{name}": name for phase in ("thinking", "answer") for name in SamplingFields.model_fields},
    "least_tokens": "min_tokens",
}
"""Of sampling options, by neutral path."""
ANYTIME: Mapping[str, str] = {
    path: f"anytime.{path}" for path in ("budget.of", "budget.grace", "budget.deadline_ms")
}
"""Of fields that only the `anytime` object has, by neutral path."""


def field_names(
    *,
    messages: str,
    budget: str | None,
    effort: str,
    total_tokens: str,
    constraint: str,
    schema: str,
    tool_parameters: str,
    continuation: str | None,
    top_logprobs: str = "top_logprobs",
    stop: str = "stop",
) -> dict[str, str]:
    """The client's names by neutral path, in a dialect with an `anytime` object.

    Args:
        budget, continuation: None where the `anytime` object has it, or nothing.
        total_tokens: limits thinking and answer together, and so the answer.
    """
    return {
        **OWN,
        **ANYTIME,
        "messages": messages,
        "budget": budget or "anytime.budget",
        "effort": effort,
        "total_tokens": total_tokens,
        "answer.max_tokens": total_tokens,
        "answer.constraint": constraint,
        "answer.schema": schema,
        "answer.top_logprobs": top_logprobs,
        "stop": stop,
        "tools.parameters": tool_parameters,
        "continuation": continuation or "anytime.continuation",
    }
