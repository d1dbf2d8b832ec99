"""Requests and responses of the native dialect."""

from __future__ import annotations

from pydantic import Field, StrictBool, StrictStr

from anytime_server.api.native.events import ErrorDetail
from anytime_server.api.openapi import Body
from anytime_server.api.schema.fields import (
    AtLeastOne,
    Budget,
    BudgetFields,
    Budgets,
    Fields,
    Seed,
    StopWhenFields,
)
from anytime_server.api.schema.messages import Conversation
from anytime_server.api.schema.response_format import ResponseFormat
from anytime_server.api.schema.sampling import SamplingFields
from anytime_server.reasoning import Forcing
from anytime_server.types import GenerateRequest, RequestContext


class ThinkingFields(SamplingFields):
    """How the thinking is sampled. Defaults come from the model's `generation_config.json`."""

    seed: Seed | None = None
    """Makes the whole request repeatable."""


class AnswerFields(SamplingFields):
    """How answers are sampled. Defaults come from the model's `generation_config.json`."""

    max_tokens: AtLeastOne | None = None
    """The most tokens of an answer; room for them is kept in the window. Default: all that the window leaves;
    provisional answers then have no more than the manifest's `answer_tokens`."""
    skip_special_tokens: StrictBool = True
    """False shows special tokens in the text."""
    response_format: ResponseFormat | None = None
    """`{"type": "json_object"}`, or a schema as OpenAI writes it; the thinking is free."""
    forcing: Forcing | None = None
    """How the model is made to answer after a truncation: `close` the thinking and leave the rest to the
    model, or `force` the lead-in that it was trained with. Default: the model's."""


class AnytimeRequest(Conversation):
    """A question, and how long to think about it."""

    model: StrictStr | None = None
    """Name of the model; may be left out."""
    budget: Budget = None
    """Thinking tokens, or an object with `tokens`, `share`, `grace` and `deadline_ms`. Absent: the server's
    default, or all that fits."""
    thinking: ThinkingFields = Field(default_factory=ThinkingFields)
    answer: AnswerFields = Field(default_factory=AnswerFields)
    stream: StrictBool = True
    """Server-sent events; false gives one JSON body at the end."""
    budgets: Budgets | None = None
    """Provisional answers at these numbers of thinking tokens, while the thinking goes on."""
    stop_when: StopWhenFields | None = None
    """Stop once provisional answers, sampled for this, agree, or at a repetition loop."""
    continuation: StrictStr | None = None
    """From an earlier `done`: resume its thinking, the budget counted on top."""

    def to_generate_request(self, context: RequestContext) -> GenerateRequest:
        """The request in no dialect.

        Raises:
            InvalidRequest: naming the field.
        """
        budget, response_format = self.budget or BudgetFields(), self.answer.response_format
        return GenerateRequest(
            messages=self.turns(),
            model=self.model,
            budget_tokens=budget.tokens,
            **budget.generate_fields(),
            budgets=tuple(self.budgets or ()),
            continuation=self.continuation,
            answer_tokens=self.answer.max_tokens,
            thinking=self.thinking.sampling_options(),
            answer=self.answer.sampling_options(),
            skip_special_tokens=self.answer.skip_special_tokens,
            forcing=self.answer.forcing,
            constraint=response_format and response_format.constraint,
            seed=self.thinking.seed,
            context=context,
            field_names={
                "answer.constraint": "answer.response_format",
                "answer.schema": f"answer.response_format.{response_format.schema_field}"
                if response_format
                else "answer.response_format",
            },
            **(self.stop_when.generate_fields() if self.stop_when else {}),
        )


class ExtendRequest(Fields):
    tokens: AtLeastOne
    """Thinking tokens by which the budget is raised."""


class AnswerNowResponse(Body):
    id: str
    at_tokens: int
    """Thinking tokens that the answer is based on."""


class ExtendResponse(Body):
    id: str
    budget_tokens: int
    """The budget from now on: at most the room in the window and the server's maximum."""
    at_tokens: int
    """Thinking tokens sampled until now."""


class ErrorResponse(Body):
    error: ErrorDetail
