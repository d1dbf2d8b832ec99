"""One model on one engine, taking requests: admission, the sessions under way, readiness.

The dialects talk to this; so do training and evaluation, without any HTTP between.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal
from uuid import uuid4

from anytime_server.engine import Engine
from anytime_server.errors import (
    InvalidRequest,
    NotSupported,
    Unavailable,
    UnknownModel,
    UnknownSession,
    UnusableModel,
)
from anytime_server.metrics import Metrics
from anytime_server.model import Model
from anytime_server.places import For, Places
from anytime_server.question import (
    Question,
)
from anytime_server.reasoning import Forcing, resolve_budget
from anytime_server.sealing import Sealer
from anytime_server.session import AnswerRequest, Session, SessionRequest
from anytime_server.shedding import Shedder
from anytime_server.speed import SpeedMeter
from anytime_server.tool_calls import ToolParsing

logger = logging.getLogger(__name__)

WARM_UP_SESSIONS, MEASURED_SESSIONS, LONG_SESSIONS = 3, 6, 2
LONG_PROMPT_TOKENS = 512
"""Length, about, of the prompts that tell what prompts cost."""
STRUCTURED_ANSWER_TOKENS = 256
"""Room for an answer that is JSON or may call tools, where neither client nor manifest gives more."""
MAX_FORKS = 4
"""Provisional answers of one session that are sampled at the same time; more wait for these."""


class Service:
    """Opens sessions on one engine, as many at a time as it has room for; further ones wait in line."""

    def __init__(
        self,
        model: Model,
        engine: Engine,
        *,
        measure_speed: bool = True,
        sheds_load: bool = False,
        continuation_key: bytes | None = None,
        tool_parser: str | None = None,
    ) -> None:
        """
        Args:
            measure_speed: run a few sessions when starting, so that deadlines can be kept
                from the first request on.
            sheds_load: shorten thinking while sessions wait, along the model's accuracy curve.
            continuation_key: what continuations are signed with; a random one where it is None.
            tool_parser: vLLM's parser of this model's tool calls, if not its family's.

        Raises:
            UnusableOption: load cannot be shed without an accuracy curve, or no parser has that name.
        """
        self.model = model
        self.engine = engine
        self.speed = SpeedMeter()
        self.metrics = Metrics()
        self.state: Literal["loading", "ready", "draining", "stopped"] = "loading"
        self._measure_speed = measure_speed
        self._sessions: dict[str, Session] = {}
        self._num_opening = 0
        self._none_is_opening = asyncio.Event()
        self._none_is_opening.set()
        load = engine.load()
        self._places = Places(load.max_num_seqs, num_spare=load.num_spare_seqs)
        self._shedder: Shedder | None = None
        if sheds_load:
            self._shedder = Shedder(
                model.manifest.accuracy_curve,
                num_places=self._places.capacity,
                num_wanted=lambda: self._places.num_wanted,
            )
        self._sealer = Sealer(
            continuation_key or secrets.token_bytes(32), model=model.name, fingerprint=model.fingerprint
        )
        self.tool_parsing = ToolParsing.for_model(model, parser=tool_parser)
        self.metrics.gauge("sessions_running", "Sessions that think or answer.", self._num_running)
        self.metrics.gauge("sessions_waiting", "Sessions that wait for room.", self._num_waiting)
        self.metrics.gauge(
            "engine_requests", "Requests under way in the engine.", lambda: engine.load().num_requests
        )

    async def start(self) -> None:
        """Load the model, warm up, measure.

        Raises:
            UnusableModel: the engine cannot load it, or it cannot be asked even a short question.
            AnytimeError: the engine loads it but cannot answer with it.
        """
        await self.engine.start()
        if self._measure_speed:
            try:
                await self._run_own_sessions(WARM_UP_SESSIONS, speed=SpeedMeter())
                await self._run_own_sessions(MEASURED_SESSIONS, speed=self.speed)
            except InvalidRequest as error:
                raise UnusableModel(
                    f"{self.model.name} cannot be asked even a short question: {error}"
                ) from error
        if self.state == "loading":
            self.state = "ready"

    def drain(self, *, grace_s: float) -> None:
        """Take no more requests; those under way get `grace_s` seconds to end by themselves."""
        self.state = "draining"
        asyncio.get_running_loop().call_later(grace_s, self._cancel_all)

    async def drained(self) -> None:
        """Wait until those that are being opened are refused, and those under way have ended."""
        await self._none_is_opening.wait()
        await asyncio.gather(*(session.ended() for session in self._sessions.values()))

    async def stop(self) -> None:
        """Cancel what is still under way and free the engine."""
        self.state = "stopped"
        self._cancel_all()
        await self.drained()
        await self.engine.stop()

    def _cancel_all(self) -> None:
        for session in list(self._sessions.values()):
            session.cancel(Unavailable("the server stops"))

    @property
    def not_ready_because(self) -> str | None:
        """Why it takes no requests, or None if it does."""
        if self.state != "ready":
            return {"loading": "the model is loading", "draining": "the server is draining"}.get(
                self.state, "the server has stopped"
            )
        return None if self.engine.alive else "the engine is down"

    def require_ready(self) -> None:
        """Pass if requests are taken.

        Raises:
            Unavailable: they are not, and why.
        """
        if (reason := self.not_ready_because) is not None:
            raise Unavailable(reason)

    def _answer_room(self, question: Question) -> int:
        """Tokens to keep for an answer: the client's, else the manifest's within a quarter of the window.

        What is usual for the model's answers is too little for JSON and for tool calls.
        """
        if question.answer_tokens is not None:
            return question.answer_tokens
        usual = min(self.model.manifest.answer_tokens, max(1, self.engine.window_tokens // 4))
        if question.json_schema is None and not question.tools:
            return usual
        room = min(STRUCTURED_ANSWER_TOKENS, max(1, self.engine.window_tokens // 4))
        if (total_tokens := question.total_tokens) is not None:
            # No more than what the thinking that was asked for leaves, or half.
            asked = total_tokens // 2 if question.budget_tokens is None else question.budget_tokens
            room = min(room, total_tokens - asked)
        return max(usual, room)

    async def open(self, question: Question) -> Session:
        """Admit a question, or refuse it before anything is sampled. The session has started.

        Raises:
            Unavailable: not ready.
            UnknownModel: another model's name.
            InvalidRequest: it cannot be served; names the field.
        """
        self.require_ready()
        if question.model not in (None, self.model.name):
            raise UnknownModel(
                f"no model {question.model!r} is served here, only {self.model.name!r}", field="model"
            )
        with self._opening():
            session = await self._session(question, self.speed)
            self.require_ready()  # it may have changed meanwhile
            self._start(session, on_end=self.metrics.observe)
        return session

    @contextmanager
    def _opening(self) -> Iterator[None]:
        self._num_opening += 1
        self._none_is_opening.clear()
        try:
            yield
        finally:
            self._num_opening -= 1
            if self._num_opening == 0:
                self._none_is_opening.set()

    def find(self, session_id: str) -> Session:
        """The session of that id that is under way.

        Raises:
            UnknownSession: there is none; perhaps it has ended.
        """
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownSession(f"no session {session_id!r} is under way") from None

    async def _session(self, question: Question, speed: SpeedMeter) -> Session:
        if not question.messages:
            raise InvalidRequest("messages must not be empty", field="messages")
        tool_parsing = self._tool_parsing(question)
        if question.json_schema is not None:
            await self._check_json_schema(question.json_schema)
        # In a thread: a megabyte takes most of a second, and others are to go on meanwhile.
        prompt_ids = await asyncio.to_thread(
            self.model.prompt_ids, question.messages, tools=list(question.tools) or None
        )
        carried_ids: tuple[int, ...] = ()
        if question.continuation is not None:
            carried_ids = self._sealer.open(question.continuation, prompt_ids=prompt_ids)
            self._check_continued_text(question, carried_ids)
        budget = resolve_budget(
            tokens=question.budget_tokens,
            total_tokens=question.total_tokens,
            deadline_s=question.deadline_s,
            window_tokens=self.engine.window_tokens,
            prompt_tokens=len(prompt_ids) + len(carried_ids),
            answer_tokens=self._answer_room(question),
            reasoning=self.model.reasoning,
        )
        if question.budgets and question.budgets[-1] > (
            self.engine.window_tokens if question.budget_tokens is None else question.budget_tokens
        ):
            limit = "budget" if question.budget_tokens is not None else "model's window"
            raise InvalidRequest(f"budgets: {question.budgets[-1]} is more than the {limit}", field="budgets")
        num_forks = min(len(question.budgets) + 2 * (question.stop_when is not None), MAX_FORKS)
        draw = random.random()
        request = SessionRequest(
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
        shedder = self._shedder
        return Session(
            request,
            engine=self.engine,
            model=self.model,
            speed=speed,
            slot=self._places.hold(1 + num_forks),
            answer_slot=self._places.hold(kind=For.ANSWER),
            late_slot=self._places.hold(kind=For.LATE_ANSWER),
            crowd=lambda: self._places.num_wanted / self._places.num_all,
            most_under_load=(lambda: shedder.most_tokens(draw)) if shedder else lambda: None,
            seal=lambda thinking_ids, ended: self._sealer.seal(prompt_ids, thinking_ids, ended=ended),
        )

    def _check_continued_text(self, question: Question, carried_ids: Sequence[int]) -> None:
        """It may be the last part only, where thinking was gone on from more than once."""
        text = (question.continued_text or "").strip()
        if not self.model.tokenizer.decode(carried_ids).rstrip().endswith(text):
            raise InvalidRequest("the text of the thinking is not what was signed", field="continuation")

    async def _check_json_schema(self, json_schema: str) -> None:
        try:
            await asyncio.to_thread(self.engine.check_json_schema, json_schema)
        except InvalidRequest as error:
            error.field = "answer.response_format"
            raise

    def _tool_parsing(self, question: Question) -> ToolParsing | None:
        if not question.tools:
            return None
        if self.tool_parsing is None:
            why = (
                "the format of this model's tool calls is not known: give --tool-parser to the server"
                if self.model.takes_tools
                else "the model's chat template takes no tools"
            )
            raise NotSupported(why, field="tools")
        return self.tool_parsing

    def _answer_request(self, question: Question, tool_parsing: ToolParsing | None) -> AnswerRequest:
        forcing = question.forcing or (Forcing.CLOSE if tool_parsing else self.model.manifest.forcing)
        return AnswerRequest(
            temperature=question.answer_temperature,
            top_p=question.answer_top_p,
            forcing=forcing,  # a lead-in would keep the model from calling a tool
            stop=question.stop,
            json_schema=question.json_schema,
            top_logprobs=question.top_logprobs,
            is_structured=tool_parsing is not None or question.json_schema is not None,
            keeps_special_tokens=tool_parsing is not None and tool_parsing.keeps_special,
        )

    def _start(self, session: Session, *, on_end: Callable[[Session], None] = lambda session: None) -> None:
        def ended(session: Session) -> None:
            del self._sessions[session.request.id]
            on_end(session)

        self._sessions[session.request.id] = session
        session.start(on_end=ended)

    async def _run_own_sessions(self, num_sessions: int, *, speed: SpeedMeter) -> None:
        content = (self.model.manifest.examples or ["What is 2 + 2?"])[0]
        budget_tokens = min(32, self.engine.window_tokens // 4)
        for seed in range(num_sessions):
            temperature = 0.6 * (seed % 2)
            await self._run_own_session(content, speed, budget_tokens, seed=seed, temperature=temperature)
        # And what a long prompt takes: no two of these begin alike, so that none is found in the cache.
        most_tokens = min(LONG_PROMPT_TOKENS, self.engine.window_tokens // 2)
        times = most_tokens // max(1, len(self.model.tokenizer.encode(content)))
        for seed in range(min(LONG_SESSIONS, num_sessions)):
            await self._run_own_session(f"{num_sessions + seed}: {content * times}", speed, 1, seed=seed)

    async def _run_own_session(
        self, content: str, speed: SpeedMeter, budget_tokens: int, *, seed: int, temperature: float = 0.0
    ) -> None:
        question = Question(
            messages=[{"role": "user", "content": content}],
            budget_tokens=budget_tokens,
            answer_temperature=temperature,
            seed=seed,
        )
        session = await self._session(question, speed)
        self._start(session)
        await session.ended()
        if session.error is not None:
            raise session.error

    @property
    def num_sessions(self) -> int:
        """Sessions under way, waiting or running."""
        return len(self._sessions)

    def _num_running(self) -> int:
        return self.num_sessions - self._num_waiting()

    def _num_waiting(self) -> int:
        return sum(session.phase == "waiting" for session in self._sessions.values())
