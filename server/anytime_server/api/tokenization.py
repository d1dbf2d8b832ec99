"""Texts and conversations as token ids, and back, in the shapes of vLLM and llama.cpp."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, StrictBool, StrictInt, StrictStr

from anytime_server.api.body_route import BodyRoute
from anytime_server.api.openai.errors import ERRORS
from anytime_server.api.openapi import Body, NoEffect
from anytime_server.api.schema.budgets import TemplateFields
from anytime_server.api.schema.fields import MAX_TOOLS, BoundedList, Fields, Text
from anytime_server.api.schema.messages import Message
from anytime_server.api.schema.sampling import MAX_ID
from anytime_server.api.schema.tools import ToolFields
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.text.tokenizer import ModelTokenizer
from anytime_server.types import GenerateRequest, RequestContext


class TokenizeRequest(Fields):
    """A text, or a conversation as chat completions would render it."""

    model: StrictStr | None = None
    prompt: Text | None = None
    """A text."""
    content: Text | None = None
    """The same under llama.cpp's name."""
    messages: BoundedList[Message] | None = None
    """A conversation. A last message of the assistant is continued, as in chat completions."""
    tools: Annotated[BoundedList[ToolFields], Field(max_length=MAX_TOOLS)] | None = None
    chat_template_kwargs: TemplateFields | None = None
    add_special_tokens: StrictBool | None = None
    """Whether a text gets the special tokens that the tokenizer adds; by default only a `prompt` does."""
    add_special: StrictBool | None = None
    """The same under llama.cpp's name."""
    add_generation_prompt: StrictBool | None = None
    """A turn of the assistant always begins."""
    continue_final_message: StrictBool | None = None
    return_token_strs: StrictBool = False
    """vLLM's: the tokens as in the vocabulary, too."""
    with_pieces: StrictBool = False
    """llama.cpp's: the text of each token, beside its id."""
    parse_special: NoEffect = None

    def to_prompt_request(self, context: RequestContext) -> GenerateRequest:
        """The prompt in no dialect.

        Raises:
            InvalidRequest, NotSupported: naming the field.
        """
        given = [name for name in ("prompt", "content", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidRequest("give one of prompt, content and messages", field="prompt")
        if self.messages is None:
            given_special = (self.add_special_tokens, self.add_special, self.prompt is not None)
            return GenerateRequest(
                messages=(),
                text=self.prompt if self.content is None else self.content,
                adds_special_tokens=next(value for value in given_special if value is not None),
                model=self.model,
                context=context,
                field_names={"messages": given[0]},
            )
        if self.add_generation_prompt is False and not self.continue_final_message:
            raise NotSupported(
                "add_generation_prompt: a conversation that ends before the assistant's turn is not served",
                field="add_generation_prompt",
            )
        kwargs = self.chat_template_kwargs
        return GenerateRequest(
            messages=[message.for_template() for message in self.messages],
            adds_turn=self.continue_final_message is False,
            tools=[tool.for_template() for tool in self.tools or ()],
            template_variables={} if kwargs is None else kwargs.model_dump(exclude_unset=True),
            model=self.model,
            context=context,
        )


class Piece(Body):
    id: int
    piece: str
    """Text of the token."""


class Tokenized(Body):
    count: int
    """Number of tokens, also where it is more than the window has room for."""
    max_model_len: int
    """Context window in tokens."""
    tokens: list[int] | list[Piece]
    token_strs: list[str] | None = None


class DetokenizeRequest(Fields):
    model: StrictStr | None = None
    tokens: Annotated[list[Annotated[StrictInt, Field(ge=0, le=MAX_ID)]], Field(fail_fast=True)]
    """Token ids."""


class Detokenized(Body):
    prompt: str
    """The text, with special tokens."""
    content: str
    """The same under llama.cpp's name."""


def _pieces(ids: Sequence[int], tokenizer: ModelTokenizer) -> list[Piece]:
    return [Piece(id=one, piece=tokenizer.decode([one], keeps_special=True)) for one in ids]


def router(scheduler: Scheduler) -> APIRouter:
    """The endpoints. With an API key each call counts as a request."""
    routes = APIRouter(route_class=BodyRoute, tags=["openai"], responses=ERRORS)

    @routes.post("/tokenize", response_model_exclude_none=True)
    async def tokenize(body: TokenizeRequest, request: Request) -> Tokenized:
        """Token ids of a text or conversation."""
        prompt = body.to_prompt_request(request.state.context)
        ids, tokenizer = await scheduler.prompt_ids(prompt, is_bounded=False), scheduler.model.tokenizer
        tokens: Any = ids
        if body.with_pieces:
            tokens = await asyncio.to_thread(_pieces, ids, tokenizer)
        return Tokenized(
            count=len(ids),
            max_model_len=scheduler.engine.window_tokens,
            tokens=tokens,
            token_strs=tokenizer.vocabulary_entries(ids) if body.return_token_strs else None,
        )

    @routes.post("/detokenize")
    async def detokenize(body: DetokenizeRequest, request: Request) -> Detokenized:
        """Text of token ids."""
        scheduler.runtime.require_name(body.model)
        tokenizer = scheduler.model.tokenizer
        if max(body.tokens, default=0) >= tokenizer.num_ids:
            raise InvalidRequest(
                f"tokens: the model has token ids up to {tokenizer.num_ids - 1}", field="tokens"
            )
        if request.state.context.account is not None:
            request.state.context.account.count_request()
        text = await asyncio.to_thread(tokenizer.decode, body.tokens, keeps_special=True)
        return Detokenized(prompt=text, content=text)

    return routes
