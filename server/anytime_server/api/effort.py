"""The many names of the thinking budget in chat completions, and what they come to.

vLLM, SGLang, llama.cpp, NIM, OpenRouter, Anthropic-style and OpenAI itself each have their
own. All are understood; two that disagree are refused, never silently ranked.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from anytime_server.api.fields import Fields
from anytime_server.errors import InvalidRequest

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

SHARES: dict[Effort, float] = {
    "none": 0.0,
    "minimal": 0.1,
    "low": 0.2,
    "medium": 0.5,
    "high": 0.8,
    "xhigh": 0.95,
    "max": 1.0,
}
"""Share of the tokens available that an effort may think for (OpenRouter's, and `max`)."""

Tokens = Annotated[StrictInt, Field(ge=0)]


class CustomParams(Fields):
    thinking_budget: Tokens | None = None


class NvextFields(Fields):
    max_thinking_tokens: Tokens | None = None


class ReasoningFields(Fields):
    max_tokens: Tokens | None = None
    effort: Effort | None = None
    exclude: StrictBool = False
    """Think, but leave the thinking out of the response."""
    enabled: StrictBool | None = None
    """False: do not think."""


class ThinkingFields(Fields):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Tokens | None = None


class TemplateFields(Fields):
    enable_thinking: StrictBool | None = None
    """Qwen3's switch. False: do not think."""
    thinking: StrictBool | None = None
    """The same of DeepSeek's newer templates."""


class BudgetAliases(Fields):
    """Every field that can carry a budget."""

    thinking_token_budget: Annotated[StrictInt, Field(ge=-1)] | None = None
    """vLLM's; -1 is no limit."""
    thinking_budget: Tokens | None = None
    """Qwen's."""
    custom_params: CustomParams | None = None
    """SGLang's."""
    thinking_budget_tokens: Tokens | None = None
    """llama.cpp's."""
    reasoning_budget_tokens: Tokens | None = None
    """llama.cpp's."""
    nvext: NvextFields | None = None
    """NIM's."""
    reasoning: ReasoningFields | None = None
    """OpenRouter's."""
    thinking: ThinkingFields | None = None
    """Anthropic's."""
    chat_template_kwargs: TemplateFields | None = None
    """vLLM's and SGLang's; what it tells the template in their place is a budget here."""
    reasoning_effort: Effort | None = None
    """OpenAI's; a share of the tokens available."""

    def budget(
        self, *, available_tokens: int, more: dict[str, int | None], window_tokens: int | None = None
    ) -> int | None:
        """The one budget that all given fields agree on; None for no limit of its own.

        Args:
            available_tokens: what an effort is a share of.
            more: budgets from fields that are not aliases, by field name.
            window_tokens: the most that a budget can be.

        Raises:
            InvalidRequest: a field asks for too much, or two fields differ.
        """
        asked: dict[str, int | None] = dict(more)
        for field in (
            "thinking_token_budget",
            "thinking_budget",
            "thinking_budget_tokens",
            "reasoning_budget_tokens",
        ):
            if (tokens := getattr(self, field)) is not None:
                asked[field] = None if tokens == -1 else tokens
        if self.custom_params is not None and self.custom_params.thinking_budget is not None:
            asked["custom_params.thinking_budget"] = self.custom_params.thinking_budget
        if self.nvext is not None and self.nvext.max_thinking_tokens is not None:
            asked["nvext.max_thinking_tokens"] = self.nvext.max_thinking_tokens
        if self.reasoning_effort is not None:
            asked["reasoning_effort"] = int(SHARES[self.reasoning_effort] * available_tokens)
        if (reasoning := self.reasoning) is not None:
            if reasoning.max_tokens is not None:
                asked["reasoning.max_tokens"] = reasoning.max_tokens
            if reasoning.effort is not None:
                asked["reasoning.effort"] = int(SHARES[reasoning.effort] * available_tokens)
            if reasoning.enabled is False:
                asked["reasoning.enabled"] = 0
        if (thinking := self.thinking) is not None:
            if thinking.type == "disabled":
                asked["thinking.type"] = 0
            if thinking.budget_tokens is not None:
                asked["thinking.budget_tokens"] = thinking.budget_tokens
            elif thinking.type == "enabled":
                raise InvalidRequest(
                    "thinking.budget_tokens is required where thinking.type is enabled",
                    field="thinking.budget_tokens",
                )
        if (template := self.chat_template_kwargs) is not None:
            for field in ("enable_thinking", "thinking"):
                if getattr(template, field) is False:
                    asked[f"chat_template_kwargs.{field}"] = 0
        for field, tokens in asked.items():
            if window_tokens is not None and tokens is not None and tokens > window_tokens:
                raise InvalidRequest(
                    f"{field} of {tokens} is more than the model's window of {window_tokens}", field=field
                )
        if len(set(asked.values())) > 1:
            told = ", ".join(
                f"{field} ({'no limit' if tokens is None else tokens})" for field, tokens in asked.items()
            )
            raise InvalidRequest(f"conflicting budgets: {told}; give one", field=list(asked)[-1])
        return next(iter(asked.values()), None)
