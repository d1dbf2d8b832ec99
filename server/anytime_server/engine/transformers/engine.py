"""The transformers engine: batched decoding in this process, with torch alone.

For machines without vLLM, and for rollouts of small models. Requests are queued on the event loop; the steps
of the model run in one thread. `start()` imports torch and transformers.
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
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.structured.compiler import ConstraintCompiler, running
from anytime_server.errors import EngineDead, EngineFailed, UnusableModel, WeightSyncFailed, first_line

if TYPE_CHECKING:
    from anytime_server.engine.structured.matcher import Matcher, Matchers
    from anytime_server.engine.transformers.decoder import Sampled
    from anytime_server.engine.transformers.loading import LoadedModel
    from anytime_server.engine.transformers.sequence import SequenceState

logger = logging.getLogger(__name__)


class TransformersOptions(BaseModel):
    """Options of the transformers engine."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; `auto` is the GPU if there is one."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights in memory; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    window_tokens: int | None = Field(default=None, ge=16)
    """Context length in tokens; by default the model's, or less if the KV cache is too small for it."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Number of sequences that think at the same time; further requests wait."""
    kv_cache_mib: int | None = Field(default=None, ge=1)
    """Maximum size of the KV cache in MiB; by default half of the GPU's free memory, or 1024 on a CPU."""
    threads: int | None = Field(default=None, ge=1)
    """Number of PyTorch threads in this process (CPU only); by default PyTorch's choice."""


class TransformersEngine(Engine):
    """One model on transformers."""

    def __init__(
        self,
        model: str | Path,
        *,
        options: TransformersOptions | None = None,
        tokenizer: Path | None = None,
    ) -> None:
        """
        Args:
            tokenizer: folder of its `tokenizer.json`; by default the model's.
        """
        self._model = str(model)
        self._tokenizer = tokenizer or Path(model)
        self._options = options or TransformersOptions()
        self._loaded: LoadedModel | None = None
        self._constraints: ConstraintCompiler | None = None
        self._matchers: Matchers | None = None
        self._building: asyncio.Future[LoadedModel] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._waiting: list[tuple[int, int, SequenceState]] = []
        """A heap: priority, arrival order, sequence."""
        self._num_submitted = 0
        self._sequences: dict[str, SequenceState] = {}
        """Waiting and running sequences by request id."""
        self._submitted = asyncio.Event()
        self._alive = False

    @property
    def window_tokens(self) -> int:
        return self._loaded.window_tokens if self._loaded else 0

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def unsupported_sampling(self) -> frozenset[str]:
        return frozenset({"bad_words"})

    async def start(self) -> None:
        try:
            self._building = asyncio.get_running_loop().run_in_executor(self._thread, self._build)
            loaded = await asyncio.shield(self._building)
        except (ModuleNotFoundError, UnusableModel):
            raise  # for a missing module, the command line names the package to install
        except Exception as error:
            raise UnusableModel(f"transformers cannot load {self._model}: {first_line(error)}") from error
        self._loaded = loaded
        self._constraints = ConstraintCompiler(self._tokenizer, loaded.decoder.num_vocabulary)
        from anytime_server.engine.structured.matcher import Matchers

        self._matchers = Matchers(self._tokenizer, loaded.decoder.num_vocabulary)
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

    async def prepare_constraints(self) -> None:
        if self._constraints is not None:
            self._constraints.start()

    @property
    def schema_compilations(self) -> tuple[int, float]:
        return (0, 0.0) if self._constraints is None else self._constraints.compilations

    async def enforced(self, constraint: Constraint) -> Enforced:
        return await running(self._constraints).check(constraint)

    async def violation(self, json_schema: str, text: str) -> str | None:
        return await running(self._constraints).violation(json_schema, text)

    async def stop(self) -> None:
        self._alive = False
        if self._building is not None:
            await asyncio.wait([self._building])  # a thread cannot be interrupted
        self._end_all()
        self._submitted.set()
        if self._loop is not None:
            await asyncio.wait([self._loop])
        if self._constraints is not None and self._matchers is not None:
            await self._constraints.close()
            self._matchers.close()
        if (loaded := self._loaded) is not None:
            self._loaded = self._loop = self._building = None
            await asyncio.get_running_loop().run_in_executor(self._thread, loaded.free)
        self._thread.shutdown(wait=False)

    def load(self) -> EngineLoad:
        return EngineLoad(num_requests=len(self._sequences), max_num_seqs=self._options.max_num_seqs)

    @property
    def _max_running(self) -> int:
        return self._options.max_num_seqs + self.load().num_spare_seqs

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        news, num_delivered = asyncio.Event(), 0
        sequence = self._submit(request, news, await self._matcher(request), is_streamed=True)
        try:
            while True:
                await news.wait()
                news.clear()
                if sequence.error is not None:
                    raise sequence.error
                delta = sequence.delta(num_delivered)
                num_delivered += len(delta.token_ids)
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            self._dismiss(sequence)

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        """Without streams, which cost more than a small model."""
        news = asyncio.Event()
        sequences: list[SequenceState] = []
        try:
            matchers = [await self._matcher(request) for request in requests]
            for request, matcher in zip(requests, matchers, strict=True):
                sequences.append(self._submit(request, news, matcher, is_streamed=False))
            pending = sequences
            while pending := [c for c in pending if not c.ended]:
                await news.wait()
                news.clear()
                for sequence in pending:
                    if sequence.error is not None:
                        raise sequence.error
            return [sequence.generation() for sequence in sequences]
        finally:
            for sequence in sequences:
                self._dismiss(sequence)

    async def _matcher(self, request: EngineRequest) -> Matcher | None:
        if (constraint := request.sampling.constraint) is None:
            return None
        if self._matchers is None:
            raise EngineDead("the engine is not running")
        return await self._matchers.matcher(constraint, request.sampling.stop_ids)

    def _submit(
        self, request: EngineRequest, news: asyncio.Event, matcher: Matcher | None, *, is_streamed: bool
    ) -> SequenceState:
        if not self._alive or self._loaded is None:
            raise EngineDead("the engine is not running")
        if request.id in self._sequences:
            raise ValueError(f"a request {request.id!r} is running already")
        from anytime_server.engine.transformers.sequence import SequenceState

        sequence = SequenceState(request=request, news=news, is_streamed=is_streamed, matcher=matcher)
        assert len(sequence.prompt_ids) >= 1
        assert sequence.total_tokens <= self.window_tokens
        sampling, num_ids = request.sampling, self._loaded.decoder.num_vocabulary
        for ids in (request.prompt_ids, sampling.banned_ids, sampling.stop_ids, sampling.logit_bias):
            if ids and not 0 <= min(ids) <= max(ids) < num_ids:
                raise EngineFailed(f"the model has only token ids below {num_ids}")
        self._num_submitted += 1
        heapq.heappush(self._waiting, (request.priority, self._num_submitted, sequence))
        self._sequences[request.id] = sequence
        self._submitted.set()
        return sequence

    def _dismiss(self, sequence: SequenceState) -> None:
        sequence.end()
        if self._sequences.get(sequence.request.id) is sequence:
            del self._sequences[sequence.request.id]

    async def _decode_until_dead(self) -> None:
        try:
            while self._alive:
                await self._submitted.wait()
                self._submitted.clear()
                while self._alive and self._has_work():
                    await self._tick()
        except Exception:
            logger.exception("the engine died of an unexpected error")
            self._alive = False
            self._end_all()

    def _has_work(self) -> bool:
        assert self._loaded is not None
        running = self._loaded.decoder.running
        return bool(self._waiting) or any(not sequence.ended for sequence in running)

    async def _tick(self) -> None:
        """Admit waiting sequences that fit, then sample one more token of all."""
        assert self._loaded is not None
        decoder = self._loaded.decoder
        if admitted := self._admit():
            await self._step(lambda: decoder.prefill(admitted), admitted)
        await self._step(decoder.decode, decoder.running)

    def _admit(self) -> list[SequenceState]:
        assert self._loaded is not None
        decoder = self._loaded.decoder
        running = [sequence for sequence in decoder.running if not sequence.ended]
        longest = max((sequence.total_tokens for sequence in running), default=0)
        admitted: list[SequenceState] = []
        while self._waiting:
            sequence = self._waiting[0][2]
            if not sequence.ended:
                longest = max(longest, sequence.total_tokens)
                if not decoder.slots.fits(len(running) + len(admitted) + 1, longest):
                    assert running or admitted, (
                        "a sequence within the window fits alone"
                    )  # or this would spin
                    break  # the queue head is never bypassed, or a long request would wait for ever
                admitted.append(sequence)
            heapq.heappop(self._waiting)
        return admitted

    async def _step(self, step: Callable[[], Sampled | None], affected: list[SequenceState]) -> None:
        assert self._loaded is not None
        loaded, affected = self._loaded, list(affected)
        try:
            sampled = await asyncio.get_running_loop().run_in_executor(self._thread, step)
        except Exception as error:
            if not loaded.survives(error):
                raise
            logger.warning("a step of the model failed: %s", error)
            # The step may have written a part of its results, so no slot can be trusted.
            for sequence in (*affected, *loaded.decoder.running):
                sequence.end(error=EngineFailed("the engine failed on this request"))
            await asyncio.get_running_loop().run_in_executor(self._thread, loaded.forget)
            return
        if sampled is not None:
            rows = zip(sampled.sequences, *sampled.drawn, strict=True)
            for sequence, token_id, logprob, top_logprobs in rows:
                sequence.take(token_id, logprob, top_logprobs)

    def _end_all(self) -> None:
        for sequence in list(self._sequences.values()):
            sequence.end(error=EngineDead("the engine is not running"))
        self._waiting.clear()

    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        if not self._alive or self._loaded is None:
            raise EngineDead("the engine is not running")
        assert not self._sequences
        replacing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._loaded.replace_weights, weights, sha256
        )
        done, _ = await asyncio.wait([replacing], timeout=timeout_s)
        if not done:
            replacing.add_done_callback(lambda future: future.exception())  # or asyncio logs the exception
            self._loaded.cancel_replacing()
            self._alive = False  # the weights may be a mixture of old and new
            self._submitted.set()
            raise WeightSyncFailed(f"the engine did not load {weights} within {timeout_s:g} s")
        try:
            replacing.result()
        except WeightSyncFailed:
            raise
        except Exception as error:
            raise WeightSyncFailed(f"the engine cannot load {weights}: {first_line(error)}") from error
