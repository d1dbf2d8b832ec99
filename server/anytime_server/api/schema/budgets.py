"""The many names of the thinking budget, and the one number that they come to.

vLLM, SGLang, llama.cpp, NIM, OpenRouter, Anthropic-style and OpenAI itself each have their
own. All are understood. A number beats a word for an effort; two numbers that disagree are refused, never
silently ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt, model_validator

from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.fields import Fields, written_again
from anytime_server.errors import InvalidRequest
from anytime_server.reasoning import Effort

NO_LIMIT = -1
"""How vLLM and llama.cpp write that there is no limit."""

RENDERING = {
    *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "max_length"),
    *("messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize"),
    *("tokenizer_kwargs", "tools", "truncation"),
}
"""Arguments of rendering that are no variables of a chat template, or that the server sets."""

Tokens = Annotated[StrictInt, Field(ge=0)]
TokensOrNoLimit = Annotated[StrictInt, Field(ge=NO_LIMIT)]


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

    @property
    def is_on(self) -> bool | None:
        """Whether to think; None where the number says it."""
        if self.type == "disabled":
            return False
        return True if self.budget_tokens is None else None


class TemplateFields(Fields):
    """Variables of the chat template; those named here also set the budget."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    enable_thinking: StrictBool | None = None
    """Qwen3's switch. False: do not think."""
    thinking: StrictBool | None = None
    """The same of DeepSeek's newer templates."""
    thinking_budget: TokensOrNoLimit | None = None
    """Seed-OSS's; -1 is no limit."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_rendered(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in RENDERING.intersection(value):
            raise ValueError(f"{name} cannot be set by a request")
        return written_again(value)


class BudgetAliases(Fields):
    """Every field that can carry a budget."""

    thinking_token_budget: TokensOrNoLimit | None = None
    """vLLM's; -1 is no limit."""
    thinking_budget: Tokens | None = None
    """Qwen's."""
    custom_params: CustomParams | None = None
    """SGLang's."""
    custom_logit_processor: NoEffect = None
    """SGLang's truncation code, which does nothing without `custom_params.thinking_budget`."""
    thinking_budget_tokens: TokensOrNoLimit | None = None
    """llama.cpp's; -1 is no limit."""
    reasoning_budget_tokens: TokensOrNoLimit | None = None
    """llama.cpp's; -1 is no limit."""
    nvext: NvextFields | None = None
    """NIM's."""
    reasoning: ReasoningFields | None = None
    """OpenRouter's."""
    thinking: ThinkingFields | None = None
    """Anthropic's."""
    chat_template_kwargs: TemplateFields | None = None
    """vLLM's and SGLang's variables for the chat template."""
    enable_thinking: StrictBool | None = None
    """Qwen's own service's. False: do not think."""
    reasoning_effort: Effort | None = None
    """OpenAI's: a number of tokens, and no more than a share of those available."""

    def budget(self, *, more: Mapping[str, int | None]) -> tuple[int | None, str | None]:
        """The budget in tokens that all given numbers agree on, and a field that gives it.

        None stands for no limit, and for the budget of an effort, which the field then gives.

        Args:
            more: budgets from fields that are not aliases, by field name.

        Raises:
            InvalidRequest: two numbers differ, or two efforts, or two switches.
        """
        numbers, switches = {**more, **self._counts()}, self._switches()
        efforts = {} if numbers else self._efforts()
        off = [field for field, is_on in switches.items() if not is_on]
        on = [field for field, is_on in switches.items() if is_on]
        if efforts:
            _require_agreement("efforts", efforts | dict.fromkeys(off, "none"))
            agreed = (None, self.effort_field)
        else:
            agreed = agreed_budget(numbers | dict.fromkeys(off, 0))
        # Only against another switch: beside `on`, a budget of 0 is as good a number as any.
        off = [field for field, effort in efforts.items() if effort == "none"] + off
        if off and on:
            raise InvalidRequest(f"{off[0]} turns thinking off and {on[0]} on; give one", field=on[0])
        return agreed

    @property
    def template_fields(self) -> dict[str, Any]:
        """The fields of a `GenerateRequest` for the chat template."""
        kwargs = self.chat_template_kwargs
        return {
            "template_variables": {} if kwargs is None else kwargs.model_dump(exclude_unset=True),
            "effort": self.effort,
        }

    @property
    def effort(self) -> Effort | None:
        """The effort that is given under any of its names."""
        return next(iter(self._efforts().values()), None)

    @property
    def switched_on(self) -> list[str]:
        """Fields that ask for thinking and do not say how much."""
        return [field for field, is_on in self._switches().items() if is_on]

    @property
    def effort_field(self) -> str:
        """The field that gives the effort."""
        return next(iter(self._efforts()), "reasoning_effort")

    def _counts(self) -> dict[str, int | None]:
        """Requested numbers of tokens, None for no limit, by field."""
        given = {
            "thinking_token_budget": self.thinking_token_budget,
            "thinking_budget": self.thinking_budget,
            "thinking_budget_tokens": self.thinking_budget_tokens,
            "reasoning_budget_tokens": self.reasoning_budget_tokens,
            "custom_params.thinking_budget": self.custom_params and self.custom_params.thinking_budget,
            "chat_template_kwargs.thinking_budget": self.chat_template_kwargs
            and self.chat_template_kwargs.thinking_budget,
            "nvext.max_thinking_tokens": self.nvext and self.nvext.max_thinking_tokens,
            "reasoning.max_tokens": self.reasoning and self.reasoning.max_tokens,
            "thinking.budget_tokens": self.thinking and self.thinking.budget_tokens,
        }
        return {
            field: None if tokens == NO_LIMIT else tokens
            for field, tokens in given.items()
            if tokens is not None
        }

    def _efforts(self) -> dict[str, Effort]:
        given: dict[str, Effort | None] = {
            "reasoning_effort": self.reasoning_effort,
            "reasoning.effort": self.reasoning and self.reasoning.effort,
        }
        return {field: effort for field, effort in given.items() if effort is not None}

    def _switches(self) -> dict[str, bool]:
        """Whether to think at all, by field."""
        template, thinking = self.chat_template_kwargs, self.thinking
        given = {
            "enable_thinking": self.enable_thinking,
            "chat_template_kwargs.enable_thinking": template and template.enable_thinking,
            "chat_template_kwargs.thinking": template and template.thinking,
            "reasoning.enabled": self.reasoning and self.reasoning.enabled,
            "thinking.type": thinking and thinking.is_on,
        }
        return {field: is_on for field, is_on in given.items() if is_on is not None}


def is_unlimited(budget: tuple[int | None, str | None]) -> bool:
    """Whether a budget and its field say that there is no limit, rather than nothing or an effort."""
    tokens, field = budget
    return tokens is None and field is not None and not field.endswith("effort")


def agreed_budget(requested: Mapping[str, int | None]) -> tuple[int | None, str | None]:
    """The budget in tokens that all fields agree on, None for no limit, and the first field that gives it.

    Raises:
        InvalidRequest: two fields differ.
    """
    _require_agreement("budgets", requested)
    return next(((tokens, field) for field, tokens in requested.items()), (None, None))


def _require_agreement(what: str, requested: Mapping[str, int | str | None]) -> None:
    if len(set(requested.values())) > 1:
        listed = ", ".join(
            f"{field} ({'no limit' if value is None else value})" for field, value in requested.items()
        )
        raise InvalidRequest(f"conflicting {what}: {listed}; give one", field=list(requested)[-1])
