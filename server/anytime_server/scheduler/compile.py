"""Compilation: from a `GenerateRequest` to token ids and limits. The model's limits are checked here.

Knows no chat templates: `prompts.py` renders.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.reasoning import (
    ANSWER_RESERVE,
    Forcing,
    LoopRule,
    require_within_window,
    resolve_limits,
    usual_answer_tokens,
)
from anytime_server.scheduler.answer_form import AnswerForm, AnswerFormResolver
from anytime_server.scheduler.operator_limits import OperatorLimits, with_share
from anytime_server.scheduler.prompts import PromptRenderer
from anytime_server.scheduler.sampling import SamplingResolver
from anytime_server.session import AnswerOptions, CompiledRequest, Runtime
from anytime_server.text.prompt import BegunTurn, Prompt
from anytime_server.text.tool_calls import ModelTools
from anytime_server.types import GenerateRequest

STRUCTURED_ANSWER_TOKENS = 256
"""Room for an answer that is JSON or may call tools, where neither client nor manifest gives more."""
MAX_EARLY_ANSWERS = 4
"""Early answers of one session that are sampled at the same time; further ones wait."""


class RequestCompiler:
    """Compiles requests to one model on one engine, which has started."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        tools: ModelTools | None,
        shares_prefixes: bool = False,
        stops_loops: bool = False,
        limits: OperatorLimits | None = None,
    ) -> None:
        """
        Args:
            tools: how the model calls tools; None where it cannot.
            shares_prefixes: share the prefix cache among all API keys.
            stops_loops: stop the thinking at repetition loops, unless a request says otherwise.
            limits: the operator's defaults and maxima; none by default.
        """
        self._runtime = runtime
        self._limits = limits or OperatorLimits()
        self._forms = AnswerFormResolver(runtime, tools)
        self._sampling = SamplingResolver(runtime.model, runtime.engine)
        self._salt_key = None if shares_prefixes else secrets.token_bytes(32)
        self._stop_loop = LoopRule() if stops_loops else None
        self.prompts = PromptRenderer(runtime)

    async def compile(self, request: GenerateRequest) -> CompiledRequest:
        """Render the prompt, resolve the limits, check the constraints. The request comes from `fit()`.

        Raises:
            InvalidRequest: it cannot be served; names the field by its neutral path.
        """
        form = await self._forms.resolve(request)
        prompt = await self.prompts.render(request)
        if len(prompt.ids) < (least := self._runtime.engine.min_prompt_tokens):
            raise InvalidRequest(
                f"the prompt has {len(prompt.ids)} tokens; the engine needs at least {least} here",
                field="messages",
            )
        if request.budget_share is not None:
            request = with_share(
                request,
                prompt_tokens=len(prompt.ids),
                window_tokens=self._runtime.engine.window_tokens,
            )
            if self.prompts.show_budget:
                prompt = await self.prompts.render(request)
        if request.text is not None:
            request = self._within_text(request, prompt)
        signed_prompt_ids = await self.prompts.signed_ids(request, prompt)
        carried_ids: tuple[int, ...] = ()
        if request.continuation is not None:
            carried_ids = self._runtime.signer.verify(request.continuation, prompt_ids=signed_prompt_ids)
            self._check_continued_text(request, carried_ids)
        limits = resolve_limits(
            budget_tokens=request.budget_tokens,
            total_tokens=request.total_tokens,
            deadline_s=request.deadline_s,
            window_tokens=self._runtime.engine.window_tokens,
            prompt_tokens=len(prompt.ids) + len(carried_ids),
            answer_tokens=self._answer_tokens(request),
            max_answer_tokens=request.answer_tokens,
            answer_cap_tokens=request.answer_cap_tokens,
            reserve_tokens=self._reserve_tokens(request),
            lowers_budget=request.lowers_budget,
            grace_tokens=request.grace_tokens,
            max_budget_tokens=request.max_budget_tokens,
            inserted_tokens=None if prompt.ends_within is None else 0,
            reasoning=self._runtime.model.reasoning,
        )
        self._check_budgets(request)
        if not prompt.is_open:
            limits = limits.without_thinking(has_begun=prompt.ends_within is not None)
        return CompiledRequest(
            id=new_id(request),
            prompt=prompt,
            signed_prompt_ids=signed_prompt_ids,
            no_thinking_prompt_ids=await self.prompts.no_thinking_ids(
                request, prompt, may_call_tools=form.may_call_in_own_syntax
            ),
            carried_ids=carried_ids,
            limits=limits,
            least_tokens=request.least_tokens or 0,
            budgets=request.budgets,
            stop_when=request.stop_when,
            stop_loop=self._stop_loop if request.stop_loop is None else request.stop_loop or None,
            cache_salt=self._cache_salt(request.context.client),
            model_name=request.model,
            adapter=request.model if request.model in self._runtime.adapters else None,
            max_early_answers=min(
                len(request.budgets) + 2 * (request.stop_when is not None), MAX_EARLY_ANSWERS
            ),
            thinking=self._sampling.thinking(request),
            answer=self._answer_options(request, form),
            seed=request.seed,
            context=request.context,
        )

    def fit(self, request: GenerateRequest) -> GenerateRequest:
        """The request within the operator's limits, without what has no effect on this model.

        Both are added to its context's `ignored`.

        Raises:
            UnknownModel, NotSupported, InvalidRequest: it can never be served, as far as that shows without
                rendering it; names the field by its neutral path.
        """
        alias = self._runtime.alias_of(request.model)
        if not request.messages and request.text is None:
            raise InvalidRequest("messages must not be empty", field="messages")
        if request.scores_prompt and not self._runtime.engine.scores_prompts:
            raise NotSupported(
                "this engine does not report the log-probabilities of a prompt", field="answer.top_logprobs"
            )
        request = self._within_window(request)
        self._note_effort(request)
        if (begun := self.prompts.begun_turn(request)) is not None:
            request = self._with_begun(request, begun)
        request = self._limits.apply(
            request,
            alias=alias,
            efforts=self._runtime.model.manifest.efforts,
            window_tokens=self._runtime.engine.window_tokens,
        )
        require_within_window(
            budget_tokens=request.budget_tokens,
            total_tokens=None,
            window_tokens=self._runtime.engine.window_tokens,
        )
        request = self._sampling.fit(request)
        if request.text is None:  # else it may turn out to have no budget
            request = self._with_room_for_answer(request)
        self._forms.check(request)
        return request

    def _within_window(self, request: GenerateRequest) -> GenerateRequest:
        """The request with a limit over the whole window removed: the window is the limit then.

        A budget that only such a limit has room for goes with it.
        """
        window_tokens = self._runtime.engine.window_tokens
        budget_tokens, total_tokens = request.budget_tokens, request.total_tokens
        if total_tokens is not None and total_tokens > window_tokens:
            over = f"is more than the model's window of {window_tokens} tokens, which is the limit then"
            request.ignore("total_tokens", over)
            if budget_tokens is not None and window_tokens < budget_tokens <= total_tokens:
                request.ignore("budget", over)
                budget_tokens = None
            request = replace(request, total_tokens=None, budget_tokens=budget_tokens)
        return request

    def _within_text(self, request: GenerateRequest, prompt: Prompt) -> GenerateRequest:
        """A request for the rest of a text, with a budget only where the text ends within thinking."""
        if prompt.is_open:
            return self._with_room_for_answer(request)
        if request.thinks_in_text and request.budget_tokens != 0:
            request.ignore("budget", "the prompt does not end within thinking")
        return replace(request, budget_tokens=None)

    def _note_effort(self, request: GenerateRequest) -> None:
        """Report an effort that neither sets the budget nor is shown to the model."""
        if request.effort is not None and request.has_budget and self.prompts.effort_word(request) is None:
            request.ignore("effort", f"has no effect beside {request.name_of('budget')}")

    def _with_begun(self, request: GenerateRequest, begun: BegunTurn) -> GenerateRequest:
        """The request without what has no effect on an answer that has begun.

        Raises:
            InvalidRequest, NotSupported: something cannot be had of such an answer.
        """
        if request.messages[-1].get("tool_calls"):
            raise InvalidRequest("the last message calls a tool; its result must follow", field="messages")
        if begun.thinking and not self._runtime.model.reasoning.thinks:
            field = f"messages.{len(request.messages) - 1}.reasoning_content"
            request.ignore(field, "the model does not think")
        if not begun.text:
            return request
        if not begun.is_thinking:
            for field, asks in (
                ("budget", request.budget_tokens),
                ("effort", request.effort not in (None, "none")),
            ):
                if asks:
                    request.ignore(field, "the last message begins the answer: there is no thinking")
            request = replace(request, budget_tokens=None, effort=None)
        if request.constraint is not None or request.required_tools:
            field = "tool_choice" if request.constraint is None else "answer.constraint"
            raise NotSupported(
                f"{request.name_of(field)}: an answer that the client has begun cannot be held to a form",
                field=field,
            )
        if request.continuation is not None:
            raise InvalidRequest(
                "there is no thinking to resume: the last message begins the answer", field="continuation"
            )
        return request

    def _cache_salt(self, client: str) -> str:
        """The same for all requests of an API key, and different for each server; empty without keys."""
        if self._salt_key is None or not client:
            return ""
        return hashlib.blake2b(client.encode(), key=self._salt_key, digest_size=16).hexdigest()

    def _check_continued_text(self, request: GenerateRequest, carried_ids: Sequence[int]) -> None:
        """The text may be the last part only, where thinking was resumed more than once."""
        text = (request.continued_text or "").strip()
        if not self._runtime.model.tokenizer.decode(carried_ids).rstrip().endswith(text):
            raise InvalidRequest("the text of the thinking is not what was signed", field="continuation")

    def _check_budgets(self, request: GenerateRequest) -> None:
        if not request.budgets:
            return
        limit, most = "budget", request.budget_tokens
        if most is None:
            limit, most = "model's window", self._runtime.engine.window_tokens
        if request.budgets[-1] > most:
            raise InvalidRequest(f"budgets: {request.budgets[-1]} is more than the {limit}", field="budgets")

    def _with_room_for_answer(self, request: GenerateRequest) -> GenerateRequest:
        """The request with a budget that leaves the answer its reserve: it is never lowered silently.

        Raises:
            InvalidRequest: the budget leaves less.
        """
        budget, total = request.budget_tokens, request.total_tokens
        if not budget or total is None or request.lowers_budget:
            return request
        left, reserve = total - budget - request.grace_tokens, self._reserve_tokens(request)
        if 0 < left < reserve and request.keeps_room:
            request.ignore("budget", f"leaves {left} tokens for the answer, which needs at least {reserve}")
            return replace(request, budget_tokens=total - reserve - request.grace_tokens)
        if left < reserve:
            with_grace = f" with {request.grace_tokens} of grace" if request.grace_tokens else ""
            raise InvalidRequest(
                f"{request.name_of('budget')} ({budget}{with_grace}) leaves {max(0, left)} tokens of "
                f"{request.name_of('total_tokens')} ({total}) for the answer, which needs at least {reserve}",
                field="budget",
            )
        return request

    def _reserve_tokens(self, request: GenerateRequest) -> int:
        """The least that a budget leaves for the answer."""
        reserve = min(ANSWER_RESERVE, self._answer_tokens(request))
        if request.total_tokens is not None:
            reserve = min(reserve, request.total_tokens // 4)
        return max(reserve, request.answer.min_tokens or 1)

    def _answer_tokens(self, request: GenerateRequest) -> int:
        """Tokens that an answer is expected to have: the client's most, else the manifest's number within a
        quarter of the window, and at least the client's minimum.

        The usual length of the model's answers is too short for JSON and for tool calls.
        """
        if request.answer_tokens is not None:
            return request.answer_tokens
        window_tokens = self._runtime.engine.window_tokens
        usual = usual_answer_tokens(self._runtime.model.manifest.answer_tokens, window_tokens=window_tokens)
        usual = max(usual, request.answer.min_tokens or 1)
        if request.constraint is None and not request.tools:
            return usual
        room = usual_answer_tokens(STRUCTURED_ANSWER_TOKENS, window_tokens=window_tokens)
        if request.total_tokens is not None and request.budget_tokens is not None:
            # No more than what the requested thinking leaves.
            room = min(room, request.total_tokens - request.budget_tokens)
        return max(usual, room)

    def _answer_options(self, request: GenerateRequest, form: AnswerForm) -> AnswerOptions:
        # A lead-in would keep the model from calling a tool.
        forcing = request.forcing or (
            Forcing.CLOSE if form.tool_parser else self._runtime.model.manifest.forcing
        )
        compares_confidence = request.stop_when is not None and request.stop_when.min_confidence > 0
        return AnswerOptions(
            sampling=self._sampling.answer(request),
            forcing=forcing,
            # Stop strings end texts; within a call they would break it.
            stop=() if request.required_tools else request.stop,
            constraint=form.constraint,
            check=form.check,
            top_logprobs=request.top_logprobs,
            scores_prompt=request.scores_prompt,
            with_confidence=request.with_confidence or compares_confidence,
            skip_special_tokens=request.skip_special_tokens,
            tool_parser=form.tool_parser,
        )


def new_id(request: GenerateRequest) -> str:
    """A session id."""
    return f"{request.id_prefix}{uuid4().hex}"
