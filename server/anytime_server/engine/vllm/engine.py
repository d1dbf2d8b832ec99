"""The vLLM engine: `AsyncLLM` in this process, its engine core in another.

The only engine that knows vLLM (`text/tool_calls.py` uses its parsers); translates vLLM's errors to ours.
`start()` imports vLLM, so that other engines and `--help` do not wait for it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anytime_server.engine.base import (
    LEAST_LOGPROB,
    Delta,
    Engine,
    EngineLoad,
    EngineRequest,
    FinishReason,
    Generation,
    Sampling,
    TopLogprobs,
)
from anytime_server.engine.constraint import Constraint, Enforced
from anytime_server.engine.environment import SERVER_PID, interrupts_blocked, prepare_environment
from anytime_server.engine.processes import ProcessThread
from anytime_server.engine.structured.compiler import ConstraintCompiler, running
from anytime_server.engine.vllm.adapters import lora_arguments, lora_requests
from anytime_server.engine.vllm.arguments import VllmOptions, config_fault, engine_config, loads_weights
from anytime_server.engine.vllm.failures import (
    architecture_fault,
    keep_architecture_faults,
    reason_file,
    start_fault,
)
from anytime_server.engine.weights import checkpoint_shapes, require_same_tensors
from anytime_server.errors import (
    AnytimeError,
    EngineDead,
    EngineFailed,
    UnusableModel,
    WeightSyncFailed,
    first_line,
)

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.logprobs import Logprob
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM

    from anytime_server.engine.vllm.stats import LatestStats

logger = logging.getLogger(__name__)

PREPARE_S = 60
"""Seconds that the first JSON schema may take at most."""
STOP_S = 10
"""Seconds for vLLM to stop, after which its processes are killed."""


class VllmEngine(Engine):
    """One model on vLLM."""

    def __init__(
        self,
        model: str | Path,
        *,
        options: VllmOptions | None = None,
        adapters: Mapping[str, Path] | None = None,
        tokenizer: Path | None = None,
    ) -> None:
        """
        Args:
            tokenizer: folder of its `tokenizer.json`; by default the model's.
            adapters: folders of LoRA adapters, by the names under which requests choose them.
        """
        self._model = str(model)
        self._tokenizer = tokenizer or Path(model)
        self._options = options or VllmOptions()
        self._adapters = adapters or {}
        self._lora_requests: dict[str, LoRARequest] = {}
        self._max_num_seqs: int | None = None
        self._llm: AsyncLLM | None = None
        self._thread: ProcessThread | None = None
        self._building: asyncio.Future[None] | None = None
        self._is_stopped = False
        self._constraints: ConstraintCompiler | None = None
        self._window_tokens = 0
        self._min_prompt_tokens = 1
        self._on_cpu = False
        self._speculates = False
        self._requests: set[str] = set()
        self._stats: list[LatestStats] = []

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    @property
    def unsupported_sampling(self) -> frozenset[str]:
        return frozenset({"min_p", "logit_bias"}) if self._speculates else frozenset()

    @property
    def alive(self) -> bool:
        return self._llm is not None and not self._llm.errored and not self._is_stopped

    async def start(self) -> None:
        try:
            with reason_file() as reason:
                self._thread = ProcessThread("vllm")
                self._building = self._thread.submit(partial(self._build, reason))
                await asyncio.shield(self._building)
                await self._first_step(reason)
        except (ModuleNotFoundError, AnytimeError):
            raise  # for the former, the command line names the package to install
        except Exception as error:
            fault = architecture_fault(config_fault(error))
            raise UnusableModel(f"vLLM cannot load {self._model}: {fault}") from error

    async def _first_step(self, reason: Path) -> None:
        """Sample a token: vLLM can load some models that it cannot run.

        Raises:
            UnusableModel: the engine died of it, and why.
        """
        sampling, prompt_ids = Sampling(max_tokens=1), [0] * self._min_prompt_tokens
        try:
            await self._whole(EngineRequest(id="first-step", prompt_ids=prompt_ids, sampling=sampling))
        except EngineDead as error:
            if self._is_stopped:
                raise
            fault = start_fault(reason, on_cpu=self._on_cpu) or first_line(error)
            raise UnusableModel(f"vLLM cannot run {self._model}: {fault}") from error

    def _build(self, reason: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of vLLM and its libraries, also in a forked core
            self._build_llm(reason)

    def _build_llm(self, reason: Path) -> None:
        prepare_environment()
        if loads_weights(self._options):
            checkpoint_shapes(Path(self._model))  # fails if a file is incomplete
        from vllm.platforms import current_platform

        os.environ[SERVER_PID] = str(os.getpid())
        for name in ("vllm", "torch._library.triton"):
            logging.getLogger(name).setLevel(logging.ERROR)
        keep_architecture_faults()
        self._on_cpu = on_cpu = current_platform.is_cpu()
        config, self._max_num_seqs = engine_config(
            self._model,
            self._options,
            on_cpu=on_cpu,
            lora=lora_arguments(self._adapters, on_cpu=on_cpu),
            tokenizer=str(self._tokenizer),
        )
        self._lora_requests = lora_requests(self._adapters)
        if on_cpu:
            # A forked engine core starts in 4 s instead of 20; the configuration above resets the variable.
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        if self._is_stopped:
            raise EngineDead("the engine was stopped during its start")
        model_window_tokens = config.model_config.max_model_len
        self._start_core(config, reason)
        if self._is_stopped:  # meanwhile, and nothing waits for this thread any more
            self._shut_down()
            return
        assert self._llm is not None
        # Statistics of each step are needed; those of each request cost time.
        self._llm.log_stats = self._llm.output_processor.log_stats = False
        logging.getLogger("vllm.v1.engine.async_llm").addFilter(_is_not_of_a_dead_core)
        self._window_tokens = config.model_config.max_model_len
        if self._window_tokens < model_window_tokens:
            logger.warning(
                "the window is %d tokens instead of %d: the KV cache has no room for more; %s changes that",
                self._window_tokens,
                model_window_tokens,
                "--vllm.kv-cache-mib" if on_cpu else "--vllm.gpu-memory-utilization",
            )
        self._speculates = config.speculative_config is not None
        self._constraints = ConstraintCompiler(self._tokenizer, config.model_config.get_vocab_size())
        # With fewer tokens, attention in vLLM 0.32's CPU build hits an illegal instruction (seen with AMX).
        self._min_prompt_tokens = 5 if on_cpu else 1

    def _start_core(self, config: VllmConfig, reason: Path) -> None:
        """Start vLLM's processes.

        Raises:
            UnusableModel: they did not start, and why.
        """
        from vllm.renderers import hf as renderers
        from vllm.v1.engine.async_llm import AsyncLLM

        # vLLM copies the tokenizer for threads that render prompts, which takes seconds at 150,000 ids. There
        # are no such threads here: prompts come as ids.
        renderers.__dict__["maybe_make_thread_pool"] = lambda tokenizer, copies=1: tokenizer
        try:
            # Not returned: the future of `_build()` would keep the object beyond `stop()`, and its finaliser
            # fails at the interpreter's exit.
            with interrupts_blocked():  # also in the core: the server alone handles Ctrl-C, and drains
                self._llm = AsyncLLM.from_vllm_config(
                    config, disable_log_stats=True, stat_loggers=[self._stat_logger]
                )
        except Exception as error:
            if (fault := start_fault(reason, on_cpu=self._on_cpu)) is None:
                raise
            raise UnusableModel(f"vLLM cannot load {self._model}: {fault}") from error

    def _stat_logger(self, config: VllmConfig, engine_index: int = 0) -> LatestStats:
        from anytime_server.engine.vllm.stats import LatestStats

        self._stats.append(LatestStats(config, engine_index))
        return self._stats[-1]

    @property
    def kv_cache_use(self) -> float | None:
        if self._llm is None or not self._requests:
            return 0.0  # the latest statistics are of the time when there were requests
        return max((stats.kv_cache_use for stats in self._stats), default=None)

    async def stop(self) -> None:
        self._is_stopped = True
        if self._constraints is not None:
            await self._constraints.close()
        if self._thread is None or self._building is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                while not self._building.done():  # a core that hangs at its start would never end it
                    self._thread.kill_processes()
                    await asyncio.wait([self._building], timeout=0.1)
                if self._llm is not None:
                    if self._llm.output_handler is not None:
                        self._llm.output_handler.cancel()  # or it logs the end of the core as a failure
                    await self._thread.submit(self._shut_down)
                    gc.collect()
        except TimeoutError:
            raise EngineFailed(f"vLLM does not stop within {STOP_S} s") from None
        finally:
            self._thread.kill_processes()
            self._thread.end()
            self._thread = None

    def _shut_down(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.shutdown(timeout=1)

    def load(self) -> EngineLoad:
        return self._options.load(len(self._requests), max_num_seqs=self._max_num_seqs)

    async def prepare_constraints(self) -> None:
        if self._constraints is None:
            return
        self._constraints.start()
        # With its first constraint, the core reads the vocabulary, and samples nothing for some seconds.
        sampling = Sampling(max_tokens=1, constraint=Constraint("json_schema", '{"type":"null"}'))
        prompt_ids = [0] * self._min_prompt_tokens
        with suppress(
            EngineDead, EngineFailed, TimeoutError
        ):  # the process of constraints finds what is wrong
            async with asyncio.timeout(PREPARE_S):
                await self._whole(EngineRequest(id="constraints", prompt_ids=prompt_ids, sampling=sampling))

    async def enforced(self, constraint: Constraint) -> Enforced:
        return await running(self._constraints).check(constraint)

    async def violation(self, json_schema: str, text: str) -> str | None:
        return await running(self._constraints).violation(json_schema, text)

    @property
    def schema_compilations(self) -> tuple[int, float]:
        return (0, 0.0) if self._constraints is None else self._constraints.compilations

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Delta, None]:
        if self._llm is None or self._constraints is None:
            raise EngineDead("the engine is not running")
        if len(request.prompt_ids) < self._min_prompt_tokens:
            raise EngineFailed(f"the engine needs a prompt of at least {self._min_prompt_tokens} tokens")
        from vllm.inputs.engine import tokens_input

        from anytime_server.engine.vllm.sampling import sampling_params

        outputs = self._llm.generate(
            tokens_input(request.prompt_ids, cache_salt=request.cache_salt or None),
            sampling_params(request.sampling, self._constraints, speculates=self._speculates),
            request.id,
            lora_request=self._lora_requests[request.adapter] if request.adapter else None,
            priority=request.priority,
        )
        self._requests.add(request.id)
        cached_tokens, num_top = 0, request.sampling.top_logprobs
        try:
            async with self._translated_errors():
                async for output in outputs:
                    completion = output.outputs[0]
                    cached_tokens = output.num_cached_tokens or cached_tokens
                    token_ids = tuple(completion.token_ids)
                    entries = completion.logprobs or ()
                    yield Delta(
                        token_ids=token_ids,
                        logprobs=tuple(
                            entry[i].logprob
                            for i, entry in zip(token_ids, entries, strict=bool(entries))
                            if entry
                        ),
                        cached_tokens=cached_tokens,
                        finish_reason=_finish_reason(completion.finish_reason) if output.finished else None,
                        top_logprobs=_likeliest(entries, num_top) if num_top else (),
                    )
        finally:
            self._requests.discard(request.id)
            await outputs.aclose()

    async def generate_all(self, requests: Sequence[EngineRequest]) -> list[Generation]:
        if self._llm is None:
            raise EngineDead("the engine is not running")
        # The core would start with the first requests; while it is paused, all of them enter.
        llm, num_others = self._llm, self._llm.output_processor.get_num_unfinished_requests()
        async with self._translated_errors():
            await llm.pause_generation(mode="keep", clear_cache=False)
            running = asyncio.ensure_future(super().generate_all(requests))
            try:
                num_all = num_others + len(requests)
                count = llm.output_processor.get_num_unfinished_requests
                while not running.done() and count() < num_all:  # noqa: ASYNC110 (vLLM has no event for it)
                    await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                running.cancel()
                raise
            finally:
                await llm.resume_generation()
        return await running

    async def update_weights(self, weights: Path, *, sha256: str, timeout_s: float) -> None:
        if self._llm is None:
            raise EngineDead("the engine is not running")
        assert not self._requests
        await asyncio.to_thread(require_same_tensors, weights, Path(self._model))
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit, self._translated_errors():
                faults = await self._llm.collective_rpc("replace_weights", args=(str(weights), sha256))
                is_reset = await self._llm.reset_prefix_cache(reset_running_requests=True)
        except (EngineDead, EngineFailed):
            raise
        except Exception as error:
            if limit.expired():
                raise WeightSyncFailed(f"the engine did not load {weights} within {timeout_s:g} s") from error
            raise WeightSyncFailed(f"the engine cannot load {weights}: {first_line(error)}") from error
        if any(faults):
            raise WeightSyncFailed(f"{weights}: {next(filter(None, faults))}")
        if not is_reset:
            raise WeightSyncFailed("the engine still has cached keys and values of the old weights")

    @asynccontextmanager
    async def _translated_errors(self) -> AsyncIterator[None]:
        """Translate vLLM's errors to ours."""
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            yield
        except EngineDeadError as error:
            raise EngineDead("the engine died") from error
        except EngineGenerateError as error:
            raise EngineFailed("the engine failed on this request") from error


def _is_not_of_a_dead_core(record: logging.LogRecord) -> bool:
    """Log filter that drops vLLM's stack traces of a dead core."""
    from vllm.v1.engine.exceptions import EngineDeadError

    return not (record.exc_info and isinstance(record.exc_info[1], EngineDeadError))


def _likeliest(entries: Sequence[dict[int, Logprob] | None], num: int) -> tuple[TopLogprobs, ...]:
    """The `num` likeliest tokens at each position; `entries` also have the sampled token."""
    ranked = [sorted((entry or {}).items(), key=lambda one: -one[1].logprob)[:num] for entry in entries]
    return tuple(
        tuple((token_id, max(one.logprob, LEAST_LOGPROB)) for token_id, one in tokens) for tokens in ranked
    )


def _finish_reason(reason: str | None) -> FinishReason:
    if reason in ("stop", "length", "abort"):
        return reason
    raise EngineFailed(f"the engine ended a request with {reason!r}")
