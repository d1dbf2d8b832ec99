"""A model of transformers in this process, decoded many requests at a time; needs torch alone.

For machines that vLLM does not run on, and for rollouts of small models. What is asked is queued
here, on the event loop; the steps of the model run in one thread beside it. torch and transformers
are imported by `start()`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from anytime_server.engine.base import Delta, Engine, EngineLoad, EngineRequest, Generation
from anytime_server.errors import EngineDead, EngineFailed, UnusableModel, WeightSyncFailed

if TYPE_CHECKING:
    from anytime_server.engine.structured.grammar import Grammars, Matcher
    from anytime_server.engine.transformers.decoder import Sampled
    from anytime_server.engine.transformers.loading import LoadedModel
    from anytime_server.engine.transformers.sequence import Continuation

logger = logging.getLogger(__name__)


class TransformersOptions(BaseModel):
    """Options of the transformers engine."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; `auto` is the GPU where there is one."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights in memory; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    window_tokens: int | None = Field(default=None, ge=16)
    """Context length; by default the model's own, or less where the memory for it is not enough."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Requests that think at the same time; further ones wait."""
    kv_cache_mib: int | None = Field(default=None, ge=1)
    """Memory for keys and values in MiB, taken as it is needed; by default half of what the GPU has
    free, or 1024 on a CPU."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of PyTorch in this whole process (CPU only); its own choice by default."""


class TransformersEngine(Engine):
    """One model on transformers."""

    def __init__(self, model: str | Path, *, options: TransformersOptions | None = None) -> None:
        self._model = str(model)
        self._options = options or TransformersOptions()
        self._loaded: LoadedModel | None = None
        self._grammars: Grammars | None = None
        self._building: asyncio.Future[LoadedModel] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._waiting: list[tuple[int, int, Continuation]] = []
        """A heap: priority, number of arrival, what waits."""
        self._num_arrived = 0
        self._under_way: dict[str, Continuation] = {}
        self._arrived = asyncio.Event()
        self._alive = False

    @property
    def window_tokens(self) -> int:
        return self._loaded.window_tokens if self._loaded else 0

    @property
    def alive(self) -> bool:
        return self._alive

    async def start(self) -> None:
        try:
            self._building = asyncio.get_running_loop().run_in_executor(self._thread, self._build)
            loaded = await asyncio.shield(self._building)
        except (ModuleNotFoundError, UnusableModel):
            raise  # of the former, the command line tells what to install
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnusableModel(f"transformers cannot load {self._model}: {reason}") from error
        from anytime_server.engine.structured.grammar import Grammars

        self._loaded = loaded
        self._grammars = Grammars(Path(self._model), loaded.decoder.num_vocabulary)
        self._alive = True
        self._loop = asyncio.create_task(self._decode_until_dead())

    def _build(self) -> LoadedModel:
        from anytime_server.engine.transformers.loading import load_model

        options = self._options
        return load_model(
            Path(self._model),
            device=options.device,
            dtype=options.dtype,
            window_tokens=options.window_tokens,
            max_running=self._max_running,
            kv_cache_mib=options.kv_cache_mib,
            threads=options.threads,
        )

    def check_json_schema(self, json_schema: str) -> None:
        if self._grammars is None:
            raise EngineDead("the engine is not running")
        self._grammars.check(json_schema)
        self._grammars.compiled(json_schema)

    async def stop(self) -> None:
        self._alive = False
        if self._building is not None:
            await asyncio.wait([self._building])  # a thread cannot be interrupted, only outlived
        self._end_all()
        self._arrived.set()
        if self._loop is not None:
            await asyncio.wait([self._loop])
        if (loaded := self._loaded) is not None:
            self._loaded = self._loop = self._building = None
            await asyncio.get_running_loop().run_in_executor(self._thread, loaded.free)
        self._thread.shutdown(wait=False)

    async def abort(self, request_id: str) -> None:
        if (continuation := self._under_way.get(request_id)) is not None:
            continuation.end()

    def load(self) -> EngineLoad:
        return EngineLoad(num_requests=len(self._under_way), max_num_seqs=self._options.max_num_seqs)

    @property
    def _max_running(self) -> int:
        return self._options.max_num_seqs + self.load().num_spare_seqs

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        news, num_delivered = asyncio.Event(), 0
        continuation = self._submit(request, news, await self._matcher(request), is_streamed=True)
        try:
            while True:
                await news.wait()
                news.clear()
                if continuation.error is not None:
                    raise continuation.error
                delta = continuation.delta(num_delivered)
                num_delivered += len(delta.token_ids)
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            self._dismiss(continuation)

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        """Without a stream for each: those cost more than a small model does."""
        news = asyncio.Event()
        continuations: list[Continuation] = []
        try:
            for request in requests:
                matcher = await self._matcher(request)
                continuations.append(self._submit(request, news, matcher, is_streamed=False))
            pending = continuations
            while pending := [c for c in pending if not c.ended]:
                await news.wait()
                news.clear()
                for continuation in pending:
                    if continuation.error is not None:
                        raise continuation.error
            return [continuation.generation() for continuation in continuations]
        finally:
            for continuation in continuations:
                self._dismiss(continuation)

    async def _matcher(self, request: EngineRequest) -> Matcher | None:
        if (schema := request.sampling.json_schema) is None:
            return None
        if self._grammars is None:
            raise EngineDead("the engine is not running")
        grammar = self._grammars.kept(schema)
        if grammar is None:  # checked, but dropped since
            grammar = await asyncio.to_thread(self._grammars.compiled, schema)
        return self._grammars.matcher(grammar, request.sampling.stop_ids)

    def _submit(
        self, request: EngineRequest, news: asyncio.Event, matcher: Matcher | None, *, is_streamed: bool
    ) -> Continuation:
        if not self._alive or self._loaded is None:
            raise EngineDead("the engine is not running")
        if request.id in self._under_way:
            raise ValueError(f"a request {request.id!r} is under way already")
        from anytime_server.engine.transformers.sequence import Continuation

        continuation = Continuation(request=request, news=news, is_streamed=is_streamed, matcher=matcher)
        assert len(continuation.prompt_ids) >= 1
        assert continuation.total_tokens <= self.window_tokens
        sampling, num_ids = request.sampling, self._loaded.decoder.num_vocabulary
        for ids in (request.prompt_ids, sampling.banned_ids, sampling.stop_ids):
            if ids and not 0 <= min(ids) <= max(ids) < num_ids:
                raise EngineFailed(f"the model knows token ids below {num_ids} only")
        self._num_arrived += 1
        heapq.heappush(self._waiting, (request.priority, self._num_arrived, continuation))
        self._under_way[request.id] = continuation
        self._arrived.set()
        return continuation

    def _dismiss(self, continuation: Continuation) -> None:
        continuation.end()
        if self._under_way.get(continuation.request.id) is continuation:
            del self._under_way[continuation.request.id]

    async def _decode_until_dead(self) -> None:
        try:
            while self._alive:
                await self._arrived.wait()
                self._arrived.clear()
                while self._alive and self._has_work():
                    await self._tick()
        except Exception:
            logger.exception("the engine died of this")
            self._alive = False
            self._end_all()

    def _has_work(self) -> bool:
        assert self._loaded is not None
        running = self._loaded.decoder.running
        return bool(self._waiting) or any(not continuation.ended for continuation in running)

    async def _tick(self) -> None:
        """Let in who waits, as far as there is room; then one token more for all."""
        assert self._loaded is not None
        decoder = self._loaded.decoder
        if admitted := self._admit():
            await self._step(lambda: decoder.prefill(admitted), admitted)
        await self._step(decoder.decode, decoder.running)

    def _admit(self) -> list[Continuation]:
        assert self._loaded is not None
        decoder = self._loaded.decoder
        running = [continuation for continuation in decoder.running if not continuation.ended]
        longest = max((continuation.total_tokens for continuation in running), default=0)
        admitted: list[Continuation] = []
        while self._waiting:
            continuation = self._waiting[0][2]
            if not continuation.ended:
                longest = max(longest, continuation.total_tokens)
                if not decoder.slots.fits(len(running) + len(admitted) + 1, longest):
                    assert running or admitted, "what is within the window fits alone"  # or we'd spin
                    break  # nobody overtakes: a long request would never get in
                admitted.append(continuation)
            heapq.heappop(self._waiting)
        return admitted

    async def _step(self, step: Callable[[], Sampled | None], concerned: list[Continuation]) -> None:
        assert self._loaded is not None
        loaded, concerned = self._loaded, list(concerned)
        try:
            sampled = await asyncio.get_running_loop().run_in_executor(self._thread, step)
        except Exception as error:
            if not loaded.survives(error):
                raise
            logger.warning("a step of the model failed: %s", error)
            # A step may have got half-way: nothing that the slots of others hold is trusted either.
            for continuation in (*concerned, *loaded.decoder.running):
                continuation.end(error=EngineFailed("the engine failed on this request"))
            await asyncio.get_running_loop().run_in_executor(self._thread, loaded.forget)
            return
        if sampled is not None:
            rows = zip(sampled.continuations, *sampled.drawn, strict=True)
            for continuation, token_id, logprob, top_logprobs in rows:
                continuation.take(token_id, logprob, top_logprobs)

    def _end_all(self) -> None:
        for continuation in list(self._under_way.values()):
            continuation.end(error=EngineDead("the engine is not running"))
        self._waiting.clear()

    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        if not self._alive or self._loaded is None:
            raise EngineDead("the engine is not running")
        assert not self._under_way
        replacing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._loaded.replace_weights, weights, sha256
        )
        done, _ = await asyncio.wait([replacing], timeout=timeout_s)
        if not done:
            replacing.add_done_callback(lambda future: future.exception())  # or asyncio reports it
            self._loaded.give_up_replacing()
            self._alive = False  # which weights it has is anyone's guess
            self._arrived.set()
            raise WeightSyncFailed(f"the engine did not take {weights} within {timeout_s:g} s")
        try:
            replacing.result()
        except WeightSyncFailed:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightSyncFailed(f"the engine does not take {weights}: {reason}") from error
