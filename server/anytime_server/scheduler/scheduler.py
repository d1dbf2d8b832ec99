"""One model on one engine, taking requests: admission, the sessions under way, readiness.

The dialects talk to this; so do training and evaluation, without any HTTP between.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from anytime_server.auth import Account, Admission
from anytime_server.engine import Engine
from anytime_server.errors import (
    AlreadyAnswering,
    InvalidRequest,
    Overloaded,
    Unavailable,
    UnknownModel,
    UnknownSession,
    UnusableModel,
)
from anytime_server.reasoning import Cause
from anytime_server.scheduler.compile import RequestCompiler
from anytime_server.scheduler.shedding import Shedder
from anytime_server.scheduler.slots import For, SlotPool
from anytime_server.session import Session
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ToolParsing
from anytime_server.types import GenerateRequest

logger = logging.getLogger(__name__)

WARM_UP_SESSIONS, MEASURED_SESSIONS, LONG_SESSIONS = 3, 6, 2
LONG_PROMPT_TOKENS = 512
"""Length, about, of the prompts that tell what prompts cost."""
MAX_WAITING = 1024
"""Sessions that may wait for room, unless told otherwise."""
RESTART_S = 5.0
"""About the time in which a model is loaded, or another server takes over."""
RECENT_SESSIONS = 32
"""Over so many it is averaged how long a session holds its places."""
SESSIONS_A_TOKEN, LONGEST_REST_S = 16, 0.2
"""Between deltas a reader rests for the time of one token for each so many other sessions, up to so many
seconds: each of many is told of several tokens at a time, which leaves time for sampling them."""


class Scheduler:
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
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """
        Args:
            measure_speed: run a few sessions when starting, so that deadlines can be kept
                from the first request on.
            sheds_load: shorten thinking while sessions wait, along the model's accuracy curve.
            continuation_key: what continuations are signed with; a random one where it is None.
            tool_parser: vLLM's parser of this model's tool calls, if not its family's.
            max_waiting: sessions that may wait for room; further ones are refused.

        Raises:
            UnusableOption: load cannot be shed without an accuracy curve, or no parser has that name.
        """
        self.model = model
        self.engine = engine
        self.speed = LatencyEstimator()
        self.state: Literal["loading", "ready", "draining", "stopped"] = "loading"
        self._measure_speed = measure_speed
        self.on_session: list[Callable[[Session], None]] = []
        """Called with each session of a client that has ended."""
        self._max_waiting = max_waiting
        self._sessions: dict[str, tuple[Session, Admission | None]] = {}
        self._num_opening = 0
        self._held_s = 0.0
        self._none_is_opening = asyncio.Event()
        self._none_is_opening.set()
        load = engine.load()
        self._places = SlotPool(load.max_num_seqs, num_spare=load.num_spare_seqs)
        self._shedder: Shedder | None = None
        if sheds_load:
            self._shedder = Shedder(
                model.manifest.accuracy_curve,
                num_places=self._places.capacity,
                num_wanted=lambda: self._places.num_wanted,
            )
        self._sealer = ContinuationSigner(
            continuation_key or secrets.token_bytes(32), model=model.name, fingerprint=model.fingerprint
        )
        self.tool_parsing = ToolParsing.for_model(model, parser=tool_parser)
        self._resolver = RequestCompiler(model, engine, sealer=self._sealer, tool_parsing=self.tool_parsing)

    async def start(self) -> None:
        """Load the model, warm up, measure.

        Raises:
            UnusableModel: the engine cannot load it, or it cannot be asked even a short question.
            AnytimeError: the engine loads it but cannot answer with it.
        """
        await self.engine.start()
        if self._measure_speed:
            try:
                await self._run_own_sessions(WARM_UP_SESSIONS, speed=LatencyEstimator())
                await self._run_own_sessions(MEASURED_SESSIONS, speed=self.speed)
            except InvalidRequest as error:
                raise UnusableModel(
                    f"{self.model.name} cannot be asked even a short question: {error}"
                ) from error
        if self.state == "loading":
            self.state = "ready"

    def drain(self, *, grace_s: float) -> None:
        """Take no more requests; those under way get `grace_s` seconds to end.

        Who thinks then, is told to answer shortly before; who has not answered by the end, is cancelled.
        """
        self.state = "draining"
        loop = asyncio.get_running_loop()
        loop.call_later(grace_s, self._cancel_all)
        answer_s = 2 * self.speed.answer_cost_s(self.model.manifest.answer_tokens)
        loop.call_later(grace_s - min(max(answer_s, 0.5), grace_s / 2), self._answer_all)

    async def drained(self) -> None:
        """Wait until those that are being opened are refused, and those under way have ended."""
        await self._none_is_opening.wait()
        await asyncio.gather(*(session.ended() for session, _ in self._sessions.values()))

    async def stop(self) -> None:
        """Cancel what is still under way and free the engine."""
        self.state = "stopped"
        self._cancel_all()
        await self.drained()
        await self.engine.stop()

    def _answer_all(self) -> None:
        for session, _ in list(self._sessions.values()):
            with suppress(AlreadyAnswering):
                session.answer_now(Cause.DEADLINE)

    def _cancel_all(self) -> None:
        for session, _ in list(self._sessions.values()):
            session.cancel(Unavailable("the server stops"))

    @property
    def not_ready_because(self) -> str | None:
        """Why it takes no requests, or None if it does."""
        if self.state != "ready":
            return {"loading": "the model is loading", "draining": "the server is draining"}.get(
                self.state, "the server has stopped"
            )
        return None if self.engine.alive else "the engine is being restarted"

    def require_ready(self) -> None:
        """Pass if requests are taken.

        Raises:
            Unavailable: they are not, and why.
        """
        if (reason := self.not_ready_because) is not None:
            raise Unavailable(reason, retry_after_s=None if self.state == "stopped" else RESTART_S)

    async def open(self, question: GenerateRequest) -> Session:
        """Admit a question, or refuse it before anything is sampled. The session has started.

        Raises:
            Unavailable: not ready.
            Overloaded: too many wait already.
            UnknownModel: another model's name.
            InvalidRequest: it cannot be served; names the field.
            RateLimited: the account that asks has used what it may.
        """
        self.require_ready()
        if question.model not in (None, self.model.name):
            raise UnknownModel(
                f"no model {question.model!r} is served here, only {self.model.name!r}", field="model"
            )
        account = question.arrival.account
        if account is not None:
            account.require_room()  # before it costs anything
        with self._opening():
            session = await self._session(question, self.speed)
            self.require_ready()  # it may have changed meanwhile
            admission = account and account.admit(session.request.budget.tokens)
            self._start(session, admission, on_end=self._tell)
        return session

    @contextmanager
    def _opening(self) -> Iterator[None]:
        if self._num_opening + self.num_waiting >= self._max_waiting + self._places.num_free:
            raise Overloaded(
                f"{self.num_waiting} requests wait already", retry_after_s=self._seconds_to_wait()
            )
        self._num_opening += 1
        self._none_is_opening.clear()
        try:
            yield
        finally:
            self._num_opening -= 1
            if self._num_opening == 0:
                self._none_is_opening.set()

    def _seconds_to_wait(self) -> float:
        """In which the line is likely to be shorter: what a session holds its places for, of late."""
        return max(1.0, self._held_s)

    def find(self, session_id: str, *, account: Account | None) -> Session:
        """The session of that id that is under way, if it was opened by that account.

        Raises:
            UnknownSession: there is none; perhaps it has ended.
        """
        return self._find(session_id, account)[0]

    def extend(self, session_id: str, tokens: int, *, account: Account | None) -> tuple[int, int]:
        """Let a session think for so many tokens more, as `Session.extend()` does.

        Returns:
            Its budget from now on, and how many thinking tokens there are.

        Raises:
            UnknownSession, AlreadyAnswering: there is none that thinks.
            RateLimited: the account has not so many left.
        """
        session, admission = self._find(session_id, account)
        if admission is not None:
            admission.extend(tokens)  # what is not used is given back in the end
        return session.extend(tokens), session.thinking_tokens

    def _find(self, session_id: str, account: Account | None) -> tuple[Session, Admission | None]:
        found = self._sessions.get(session_id)
        if found is None or not found[0].request.arrival.is_from(account):
            raise UnknownSession(f"no session {session_id!r} is under way")
        return found

    async def _session(self, question: GenerateRequest, speed: LatencyEstimator) -> Session:
        request = await self._resolver.resolve(question)
        client, draw = question.arrival.client, random.random()
        shedder, places = self._shedder, self._places
        return Session(
            request,
            engine=self.engine,
            model=self.model,
            speed=speed,
            slot=places.hold(1 + request.num_forks, client=client),
            answer_slot=places.hold(kind=For.ANSWER, client=client),
            late_slot=places.hold(kind=For.LATE_ANSWER, client=client),
            crowd=lambda: places.num_wanted / places.num_all,
            rest_s=self._rest_s,
            most_under_load=(lambda: shedder.most_tokens(draw)) if shedder else lambda: None,
            seal=lambda thinking_ids, ended: self._sealer.seal(request.prompt_ids, thinking_ids, ended=ended),
        )

    def _rest_s(self) -> float:
        tokens = (self.num_sessions - 1) // SESSIONS_A_TOKEN
        return min(LONGEST_REST_S, tokens * self.speed.inter_token_s) if tokens else 0.0

    def _start(
        self,
        session: Session,
        admission: Admission | None = None,
        *,
        on_end: Callable[[Session], None] = lambda session: None,
    ) -> None:
        def ended(session: Session) -> None:
            del self._sessions[session.request.id]
            if admission is not None:
                admission.end(session.thinking_tokens)
            on_end(session)

        self._sessions[session.request.id] = session, admission
        session.start(on_end=ended)

    async def _run_own_sessions(self, num_sessions: int, *, speed: LatencyEstimator) -> None:
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
        self,
        content: str,
        speed: LatencyEstimator,
        budget_tokens: int,
        *,
        seed: int,
        temperature: float = 0.0,
    ) -> None:
        question = GenerateRequest(
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

    def _tell(self, session: Session) -> None:
        if (held_s := session.timeline.held_s) is not None:
            self._held_s += (held_s - self._held_s) / (RECENT_SESSIONS if self._held_s else 1)
        for told in self.on_session:
            told(session)

    @property
    def num_sessions(self) -> int:
        """Sessions under way, waiting or running."""
        return len(self._sessions)

    @property
    def num_running(self) -> int:
        return self.num_sessions - self.num_waiting

    @property
    def num_waiting(self) -> int:
        return sum(session.phase == "waiting" for session, _ in self._sessions.values())
