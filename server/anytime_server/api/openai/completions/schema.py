"""Requests for completions: OpenAI's fields, and those of other servers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema

from anytime_server.api.openai.chat.schema import MAX_CHOICES, Stop, StreamOptions
from anytime_server.api.openapi import NoEffect
from anytime_server.api.schema.budgets import BudgetAliases, ReasoningFields, TemplateFields, is_unlimited
from anytime_server.api.schema.field_names import field_names
from anytime_server.api.schema.fields import AnytimeFields, AtLeastOne, Seed, whole_characters
from anytime_server.api.schema.ignored import Unserved
from anytime_server.api.schema.response_format import ConstraintFields
from anytime_server.api.schema.sampling import MAX_ID, RequestSampling
from anytime_server.engine.base import MAX_TOP_LOGPROBS
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.types import GenerateRequest, RequestContext

MAX_PROMPTS = 128
USUAL_TOKENS = 16
"""OpenAI's default of `max_tokens`."""

Prompt = str | tuple[int, ...]
"""A text, or its token ids."""


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID


def _prompt(value: Any) -> Prompt:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list) and value and all(map(_is_id, value)):
        return tuple(value)
    raise ValueError("must be a text or a list of token ids, or a list of either")


def _prompts(value: Any) -> list[Prompt]:
    if not isinstance(value, list) or (value and _is_id(value[0])):
        return [_prompt(value)]
    if not 1 <= len(value) <= MAX_PROMPTS:
        raise ValueError(f"must have from 1 to {MAX_PROMPTS} prompts")
    return [_prompt(one) for one in value]


_IDS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": MAX_ID}}
_ONE = {"anyOf": [{"type": "string"}, _IDS]}
Prompts = Annotated[
    list[Any],
    BeforeValidator(_prompts),
    WithJsonSchema(
        {"anyOf": [*_ONE["anyOf"], {"type": "array", "minItems": 1, "maxItems": MAX_PROMPTS, "items": _ONE}]}
    ),
]


class TextReasoning(ReasoningFields):
    """How to think within a text."""

    exclude: Annotated[StrictBool, Unserved(why="the thinking is a part of the text")] = False


class Switches(TemplateFields):
    """Variables of a chat template that set the budget of a text, too. Others have no effect on it."""

    model_config = ConfigDict(extra="ignore")


class CompletionRequest(BudgetAliases, ConstraintFields, RequestSampling):
    """A completion of texts as they are: no chat template, and no thinking unless it is asked for.

    Where there is a budget and the prompt ends within open thinking, the thinking goes on to the budget, and
    an answer follows. Without one, all that is sampled is text.
    """

    model: StrictStr | None = None
    prompt: Prompts
    """A text, its token ids, or a list of either."""
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    """The most tokens. Default: 16, or with a budget all that the window leaves. 0, only with `echo`: the
    prompt alone; a token is sampled for it, and not shown."""
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    """Choices of each prompt."""
    best_of: AtLeastOne | None = None
    """No more than `n` are sampled."""
    seed: Seed | None = None
    """Of each prompt's first choice; each further one has the next."""
    stop: Stop | None = None
    """Texts before which it ends."""
    logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    """Report how likely the tokens were, and as many of the likeliest alternatives of each."""
    echo: StrictBool = False
    """Begin the text, and the log-probabilities, with the prompt."""
    suffix: StrictStr | None = None
    """Text after the completion: refused, unless it is empty."""
    add_special_tokens: StrictBool = True
    """vLLM's. Whether a text gets the special tokens that the tokenizer adds at its beginning or end."""
    reasoning: TextReasoning | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """OpenRouter's."""
    chat_template_kwargs: Switches | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """vLLM's and SGLang's. Ignored, and reported, but for what sets the budget."""
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    anytime: AnytimeFields | None = None

    user: NoEffect = None

    @property
    def num_choices(self) -> int:
        """Of each prompt."""
        return self.n or 1

    @property
    def scores_prompt(self) -> bool:
        """Whether the log-probabilities of the prompt are reported."""
        return self.echo and self.logprobs is not None

    @property
    def streams_usage(self) -> bool:
        """Whether the stream ends with a chunk of usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def to_generate_requests(self, context: RequestContext) -> list[GenerateRequest]:
        """The requests in no dialect, one for each prompt.

        Raises:
            NotSupported, InvalidRequest: naming the field.
        """
        if self.suffix:
            raise NotSupported("suffix: text after the completion is not served", field="suffix")
        if self.best_of is not None and self.best_of > self.num_choices:
            context.ignored.add("best_of", "no more than `n` choices are sampled")
        if self.stream_options is not None:
            self.stream_options.note_ignored(context.ignored, counts_each_chunk=False)
        anytime = self.anytime or AnytimeFields()
        constraint, constraint_field = self.constraint(context.ignored)
        budget_tokens, budget_field = budget = self.budget(more=anytime.budget_fields)
        thinks = budget_field is not None or anytime.budget is not None or anytime.stop_when is not None
        if not thinks:
            for field in self.switched_on:
                context.ignored.add(field, "a text is thought about only with a budget or an effort")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequest("max_tokens: 0 needs echo to be true", field="max_tokens")
        if self.scores_prompt and thinks:
            raise NotSupported("logprobs: a prompt is not scored beside a budget", field="logprobs")
        if anytime.continuation is not None:
            raise InvalidRequest(
                "anytime.continuation: a text has no thinking to resume; send it as a part of the prompt",
                field="anytime.continuation",
            )
        total_tokens = None if thinks else USUAL_TOKENS
        if self.max_tokens is not None:
            total_tokens = max(1, self.max_tokens)
        return [
            GenerateRequest(
                messages=(),
                text=prompt,
                thinks_in_text=thinks,
                adds_special_tokens=self.add_special_tokens,
                model=self.model,
                budget_tokens=budget_tokens,
                effort=self.effort,
                total_tokens=total_tokens,
                **anytime.generate_fields(),
                is_unlimited=is_unlimited(budget),
                **self.sampling(),
                stop=tuple(self.stop or ()),
                constraint=constraint,
                top_logprobs=self.logprobs,
                scores_prompt=self.scores_prompt,
                with_confidence=False,
                id_prefix="cmpl-",
                context=context,
                field_names=field_names(
                    messages="prompt",
                    budget=budget_field
                    or ("anytime.stop_when" if anytime.budget is None else "anytime.budget"),
                    effort=self.effort_field,
                    total_tokens="max_tokens",
                    constraint=constraint_field.split(".")[0],
                    schema=constraint_field,
                    tool_parameters="tools.parameters",
                    continuation=None,
                    top_logprobs="logprobs",
                ),
            )
            for prompt in self.prompt
        ]
