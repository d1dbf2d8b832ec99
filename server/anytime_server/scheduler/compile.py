"""From a question to a request that can be run: nothing of it can be refused any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from anytime_server.engine import Engine
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.reasoning import Forcing, resolve_budget
from anytime_server.session import AnswerRequest, CompiledRequest
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ToolParsing
from anytime_server.types import GenerateRequest

STRUCTURED_ANSWER_TOKENS = 256
"""Room for an answer that is JSON or may call tools, where neither client nor manifest gives more."""
SHORT_PROMPT = 4096
"""Characters that are read in about the time that it takes to have a thread do it."""
MAX_FORKS = 4
"""Provisional answers of one session that are sampled at the same time; more wait for these."""


class RequestCompiler:
    """Resolves the questions to one model on one engine, which has started."""

    def __init__(
        self, model: Model, engine: Engine, *, sealer: ContinuationSigner, tool_parsing: ToolParsing | None
    ) -> None:
        self._model = model
        self._engine = engine
        self._sealer = sealer
        self._tool_parsing = tool_parsing

    async def resolve(self, question: GenerateRequest) -> CompiledRequest:
        """Read the prompt, settle the budget, check what is to be held to.

        Raises:
            InvalidRequest: it cannot be served; names the field.
        """
        if not question.messages:
            raise InvalidRequest("messages must not be empty", field="messages")
        tool_parsing = self._parsing_of(question)
        if question.json_schema is not None:
            await self._check_json_schema(question.json_schema)
        prompt_ids = await self._prompt_ids(question)
        carried_ids: tuple[int, ...] = ()
        if question.continuation is not None:
            carried_ids = self._sealer.open(question.continuation, prompt_ids=prompt_ids)
            self._check_continued_text(question, carried_ids)
        budget = resolve_budget(
            tokens=question.budget_tokens,
            total_tokens=question.total_tokens,
            deadline_s=question.deadline_s,
            window_tokens=self._engine.window_tokens,
            prompt_tokens=len(prompt_ids) + len(carried_ids),
            answer_tokens=self._answer_room(question),
            reasoning=self._model.reasoning,
        )
        if question.budgets and question.budgets[-1] > (
            self._engine.window_tokens if question.budget_tokens is None else question.budget_tokens
        ):
            limit = "budget" if question.budget_tokens is not None else "model's window"
            raise InvalidRequest(f"budgets: {question.budgets[-1]} is more than the {limit}", field="budgets")
        num_forks = min(len(question.budgets) + 2 * (question.stop_when is not None), MAX_FORKS)
        return CompiledRequest(
            id=f"{question.id_prefix}-{uuid4().hex}",
            prompt_ids=prompt_ids,
            carried_ids=carried_ids,
            budget=budget,
            budgets=question.budgets,
            stop_when=question.stop_when,
            num_forks=num_forks,
            thinking_temperature=question.thinking_temperature,
            thinking_top_p=question.thinking_top_p,
            answer=self._answer_request(question, tool_parsing),
            tool_start_ids=tool_parsing.start_ids if tool_parsing else frozenset(),
            seed=question.seed,
            arrival=question.arrival,
        )

    async def _prompt_ids(self, question: GenerateRequest) -> list[int]:
        """In a thread where it takes long: a megabyte takes most of a second, and others are to go on."""
        messages, tools = question.messages, list(question.tools)
        if len(str(messages)) + len(str(tools)) <= SHORT_PROMPT:
            return self._model.prompt_ids(messages, tools or None)
        return await asyncio.to_thread(self._model.prompt_ids, messages, tools or None)

    def _answer_room(self, question: GenerateRequest) -> int:
        """Tokens to keep for an answer: the client's, else the manifest's within a quarter of the window.

        What is usual for the model's answers is too little for JSON and for tool calls.
        """
        if question.answer_tokens is not None:
            return question.answer_tokens
        usual = min(self._model.manifest.answer_tokens, max(1, self._engine.window_tokens // 4))
        if question.json_schema is None and not question.tools:
            return usual
        room = min(STRUCTURED_ANSWER_TOKENS, max(1, self._engine.window_tokens // 4))
        if (total_tokens := question.total_tokens) is not None:
            # No more than what the thinking that was asked for leaves, or half.
            asked = total_tokens // 2 if question.budget_tokens is None else question.budget_tokens
            room = min(room, total_tokens - asked)
        return max(usual, room)

    def _check_continued_text(self, question: GenerateRequest, carried_ids: Sequence[int]) -> None:
        """It may be the last part only, where thinking was gone on from more than once."""
        text = (question.continued_text or "").strip()
        if not self._model.tokenizer.decode(carried_ids).rstrip().endswith(text):
            raise InvalidRequest("the text of the thinking is not what was signed", field="continuation")

    async def _check_json_schema(self, json_schema: str) -> None:
        try:
            await asyncio.to_thread(self._engine.check_json_schema, json_schema)
        except InvalidRequest as error:
            error.field = "answer.response_format"
            raise

    def _parsing_of(self, question: GenerateRequest) -> ToolParsing | None:
        if not question.tools:
            return None
        if self._tool_parsing is None:
            why = (
                "the format of this model's tool calls is not known: give --tool-parser to the server"
                if self._model.takes_tools
                else "the model's chat template takes no tools"
            )
            raise NotSupported(why, field="tools")
        return self._tool_parsing

    def _answer_request(self, question: GenerateRequest, tool_parsing: ToolParsing | None) -> AnswerRequest:
        forcing = question.forcing or (Forcing.CLOSE if tool_parsing else self._model.manifest.forcing)
        return AnswerRequest(
            temperature=question.answer_temperature,
            top_p=question.answer_top_p,
            forcing=forcing,  # a lead-in would keep the model from calling a tool
            stop=question.stop,
            json_schema=question.json_schema,
            top_logprobs=question.top_logprobs,
            tells_confidence=question.tells_confidence
            or (question.stop_when is not None and question.stop_when.min_confidence > 0),
            is_structured=tool_parsing is not None or question.json_schema is not None,
            keeps_special_tokens=tool_parsing is not None and tool_parsing.keeps_special,
        )
