"""The scheduler of one model on one engine: admission, sessions under way, readiness, drain.

Dialects submit to it; so do training and evaluation, without HTTP.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Literal

from anytime_server.auth import Account, Admission, Cost
from anytime_server.engine import Engine
from anytime_server.errors import (
    AlreadyAnswering,
    AnytimeError,
    InvalidRequest,
    RateLimited,
    Unavailable,
    UnusableModel,
)
from anytime_server.reasoning import Cause
from anytime_server.scheduler.compile import RequestCompiler, new_id
from anytime_server.scheduler.leases import Leases
from anytime_server.scheduler.operator_limits import OperatorLimits
from anytime_server.scheduler.queue_limit import QueueLimit
from anytime_server.scheduler.shedding import LoadShedder
from anytime_server.scheduler.slots import SlotPool
from anytime_server.scheduler.warmup import MEASURED_SESSIONS, WARM_UP_SESSIONS, warm_up_requests
from anytime_server.session import CompiledRequest, Runtime, Session, most_cost
from anytime_server.session.continuation import ContinuationSigner
from anytime_server.session.latency import LatencyEstimator
from anytime_server.text.model import Model
from anytime_server.text.tool_calls import ModelTools
from anytime_server.types import GenerateRequest

logger = logging.getLogger(__name__)

MAX_WAITING = 1024
"""Sessions that may wait for a slot, by default."""
CANCEL_S = 5.0
"""Seconds that cancelled sessions get to end."""
RESTART_S = 5.0
"""Approximate seconds until a model is loaded, or another server takes over."""

State = Literal["loading", "failed", "ready", "draining", "stopped"]
NOT_READY: dict[State, str] = {
    "loading": "the model is loading",
    "failed": "the model could not be loaded",
    "draining": "the server is draining",
    "stopped": "the server has stopped",
}


class Scheduler:
    """Runs sessions on one engine, as many at a time as it has slots for; further ones wait in queues."""

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
        shares_prefixes: bool = False,
        stops_loops: bool = False,
        warm_up_s: float | None = None,
        adapters: Sequence[str] = (),
        limits: OperatorLimits | None = None,
    ) -> None:
        """
        Args:
            measure_speed: run warm-up sessions and prepare JSON schemas when starting, so that deadlines can
                be kept from the first request on.
            sheds_load: shorten thinking while sessions wait, along the model's accuracy curve.
            continuation_key: signs continuation tokens; None for a random key.
            tool_parser: name of vLLM's parser of this model's tool calls; None for its family's.
            max_waiting: sessions that may wait for a slot; further ones are refused.
            shares_prefixes: share the engine's prefix cache among all API keys.
            stops_loops: stop the thinking at repetition loops, unless a request says otherwise.
            warm_up_s: seconds that the warm-up sessions may take together; None for no limit.
            adapters: names of the engine's LoRA adapters, which are models to clients.
            limits: the operator's limits on requests; its aliases are further names of the model.

        Raises:
            UnusableOption: load cannot be shed without an accuracy curve, or no parser has that name.
        """
        self.state: State = "loading"
        limits = limits or OperatorLimits()
        self.runtime = Runtime(
            engine=engine,
            model=model,
            adapters=tuple(adapters),
            aliases=tuple(limits.aliases),
            latency=LatencyEstimator(valid_from=lambda: engine.up_since),
            signer=ContinuationSigner(
                continuation_key or secrets.token_bytes(32), model=model.name, fingerprint=model.fingerprint
            ),
        )
        load = engine.load()
        slots = SlotPool(load.max_num_seqs, num_spare=load.num_spare_seqs)
        shedder = None
        if sheds_load:
            shedder = LoadShedder(model.manifest.accuracy_curve)
        self.active = Leases(slots, shedder=shedder)
        self.compiler = RequestCompiler(
            self.runtime,
            tools=ModelTools.of(model, parser=tool_parser),
            shares_prefixes=shares_prefixes,
            stops_loops=stops_loops,
            limits=limits,
        )
        self._measure_speed = measure_speed
        self._warm_up_s = warm_up_s
        self._queue_limit = QueueLimit(self.active, max_waiting=max_waiting)

    @property
    def model(self) -> Model:
        return self.runtime.model

    @property
    def engine(self) -> Engine:
        return self.runtime.engine

    async def start(self) -> None:
        """Load the model and warm up.

        Raises:
            UnusableModel: the engine cannot load it, or it cannot be asked even a short question.
            AnytimeError: the engine loads it but cannot answer with it.
        """
        try:
            await self.engine.start()
            load = self.engine.load()  # an engine may choose it when it starts
            self.active.slots.resize(load.max_num_seqs, num_spare=load.num_spare_seqs)
            if self._measure_speed:
                await self._measure()
                await self.engine.prepare_constraints()
        except BaseException:
            if self.state == "loading":
                self.state = "failed"
            raise
        if self.state == "loading":
            self.state = "ready"

    async def _measure(self) -> None:
        # Not measured: the first sessions also pay for what the engine does once.
        unmeasured = dataclasses.replace(self.runtime, latency=LatencyEstimator())
        limit = asyncio.timeout(self._warm_up_s)
        try:
            async with limit:
                await self._warm_up(WARM_UP_SESSIONS, unmeasured)
                await self._warm_up(MEASURED_SESSIONS, self.runtime)
        except TimeoutError as error:
            if not limit.expired():
                raise
            reason = f"{self.model.name} did not answer short questions within {self._warm_up_s:.0f} s"
            raise UnusableModel(reason) from error

    async def _warm_up(self, num_sessions: int, runtime: Runtime) -> None:
        requests = warm_up_requests(
            self.model, window_tokens=self.engine.window_tokens, num_sessions=num_sessions
        )
        for request in requests:
            try:
                compiled = await self.compiler.compile(request)
            except InvalidRequest as error:
                raise UnusableModel(
                    f"{self.model.name} cannot be asked even a short question: {error}"
                ) from error
            session = self.active.open(compiled, runtime, is_observed=False)
            await session.ended()
            if session.error is not None:
                raise session.error

    @property
    def not_ready_because(self) -> str | None:
        """Why it takes no requests; None if it does."""
        if self.state != "ready":
            return NOT_READY[self.state]
        return None if self.engine.alive else "the engine is being restarted"

    def require_ready(self) -> None:
        """Pass if requests are taken.

        Raises:
            Unavailable: they are not, and why.
        """
        if (reason := self.not_ready_because) is not None:
            retry_after_s = None if self.state in ("stopped", "failed") else RESTART_S
            raise Unavailable(reason, retry_after_s=retry_after_s)

    async def submit(self, request: GenerateRequest) -> Session:
        """Admit a request, or refuse it before anything is sampled. The session has started.

        Raises:
            Unavailable: not ready.
            Overloaded: too many sessions wait already.
            UnknownModel: another model's name.
            InvalidRequest: it cannot be served; names the client's own field.
            RateLimited: the API key has reached a limit.
        """
        [session] = await self.submit_choices(request, 1)
        return session

    async def submit_choices(self, request: GenerateRequest, num_choices: int) -> list[Session]:
        """Admit a request with several answers, each a session of its own with the next seed: all, or none.

        Raises:
            AnytimeError: as `submit()`.
        """
        return await self.submit_all([request], num_choices)

    async def submit_all(self, requests: Sequence[GenerateRequest], num_choices: int) -> list[Session]:
        """Admit the requests of one body, each with several answers, one after another: all, or none.

        Raises:
            AnytimeError: as `submit()`.
        """
        context, num_sessions = requests[0].context, len(requests) * num_choices
        with _client_field_names(requests[0]):
            self.require_ready()
            requests = [self.compiler.fit(request) for request in requests]
            account = context.account
            if account is not None:
                account.require_size(num_sessions, field="n")
                account.require_room(num_sessions)  # before it costs anything
            async with self._queue_limit.reserve(context, num_sessions):
                with _counting_cancelled(account):
                    compiled = [await self.compiler.compile(request) for request in requests]
                self.require_ready()  # it may have changed meanwhile
                admissions = iter(self._admitted(compiled, account, num_choices))
                opened: list[Session] = []
                for request, one in zip(requests, compiled, strict=True):
                    opened += self._open(one, request, list(islice(admissions, num_choices)))
                return opened

    def _admitted(
        self, compiled: Sequence[CompiledRequest], account: Account | None, num_choices: int
    ) -> Sequence[Admission | None]:
        """The admission of each session; the most expensive request sets what is reserved for each."""
        num_sessions = len(compiled) * num_choices
        if account is None:
            return [None] * num_sessions
        costs = [most_cost(one, one.limits.most_thinking_tokens) for one in compiled]
        most = Cost(
            thinking_tokens=max(cost.thinking_tokens for cost in costs),
            tokens=max(cost.tokens for cost in costs),
        )
        return account.admit(most, num_sessions=num_sessions)

    def _open(
        self, compiled: CompiledRequest, request: GenerateRequest, admissions: Sequence[Admission | None]
    ) -> list[Session]:
        opened: list[Session] = []
        for number, admission in enumerate(admissions):
            own = compiled
            if number:
                seed = None if compiled.seed is None else _wrapped(compiled.seed + number)
                own = dataclasses.replace(compiled, id=new_id(request), seed=seed)
            opened.append(self.active.open(own, self.runtime, admission=admission))
        return opened

    async def prompt_ids(self, request: GenerateRequest, *, is_bounded: bool = True) -> list[int]:
        """Token ids of a request's prompt, with thinking opened. Counts as a request of its API key.

        Args:
            is_bounded: whether a prompt that is much longer than the window is refused.

        Raises:
            AnytimeError: as `submit()`.
        """
        with _client_field_names(request):
            self.require_ready()
            request = self.compiler.fit(request)
            account = request.context.account
            with _counting_cancelled(account):
                prompt = await self.compiler.prompts.render(request, is_bounded=is_bounded)
            if account is not None:
                account.count_request()
            return prompt.ids

    async def count_tokens(self, request: GenerateRequest) -> int:
        """Number of `prompt_ids()`."""
        return len(await self.prompt_ids(request))

    def find(self, session_id: str, *, account: Account | None) -> Session:
        """A session under way that was opened with that account's key.

        Raises:
            UnknownSession: there is none; perhaps it has ended.
        """
        return self.active.find(session_id, account).session

    def extend(self, session_id: str, tokens: int, *, account: Account | None) -> tuple[int, int]:
        """Raise the budget of a session by `tokens`, as `Session.extend()` does.

        Returns:
            Its budget from now on, and its thinking tokens until now.

        Raises:
            UnknownSession, AlreadyAnswering: there is none that thinks.
            RateLimited: the account has fewer tokens left.
        """
        lease = self.active.find(session_id, account)
        lease.extend(tokens)
        return lease.session.extend(tokens), lease.session.thinking_tokens

    def drain(self, *, grace_s: float) -> None:
        """Take no more requests; sessions under way get `grace_s` seconds to end.

        Shortly before, those that still think are made to answer; at the end, those left are cancelled.
        """
        self.state = "draining"
        loop = asyncio.get_running_loop()
        loop.call_later(grace_s, self._cancel_all)
        answer_s = 2 * self.runtime.latency.answer_cost_s(self.model.manifest.answer_tokens)
        loop.call_later(grace_s - min(max(answer_s, 0.5), grace_s / 2), self._answer_all)

    async def drained(self) -> None:
        """Wait until requests that are being compiled are refused, and sessions under way have ended."""
        await self._queue_limit.released()
        await self.active.ended()

    async def stop(self) -> None:
        """Cancel what is still under way and free the engine."""
        self.state = "stopped"
        self._cancel_all()
        try:
            async with asyncio.timeout(CANCEL_S):
                await self.drained()
        except TimeoutError:
            logger.error("requests that were cancelled do not end within %d s", CANCEL_S)
        await self.engine.stop()

    def _answer_all(self) -> None:
        for session in self.active:
            with suppress(AlreadyAnswering):
                session.answer_now(Cause.DEADLINE)

    def _cancel_all(self) -> None:
        self._queue_limit.refuse_all()
        for session in self.active:
            session.cancel(Unavailable("the server stops"))


@contextmanager
def _counting_cancelled(account: Account | None) -> Iterator[None]:
    """Count the request if its client disconnects within the context: it cost as much as a complete one."""
    try:
        yield
    except asyncio.CancelledError:
        if account is not None:
            with suppress(RateLimited):
                account.count_request()
        raise


@contextmanager
def _client_field_names(request: GenerateRequest) -> Iterator[None]:
    """Rename the field of an error to the client's own name for it."""
    try:
        yield
    except AnytimeError as error:
        error.field = request.name_of(error.field)
        raise


def _wrapped(seed: int) -> int:
    """The seed as a signed 64-bit integer."""
    return (seed + 2**63) % 2**64 - 2**63
