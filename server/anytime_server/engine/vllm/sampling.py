"""Our sampling parameters as vLLM's. Imported once vLLM is: it takes seconds."""

from __future__ import annotations

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from anytime_server.engine.base import Sampling
from anytime_server.engine.structured.compiler import SchemaCompiler

BAN = -100.0
"""Logit bias of tokens that are not to be sampled; overrides the client's."""


async def sampling_params(sampling: Sampling, schemas: SchemaCompiler) -> SamplingParams:
    """vLLM's parameters of a request.

    Args:
        schemas: has compiled the request's JSON schema, if there is one.
    """
    min_tokens, unlikely_ids, structured_outputs = sampling.min_tokens, sampling.banned_ids, None
    if sampling.json_schema is not None:
        structured_outputs = StructuredOutputsParams(json=sampling.json_schema)
        min_tokens = 0  # or no token could be sampled once the JSON is complete
        # vLLM treats special tokens as their text.
        unlikely_ids |= await schemas.unspellable_ids(sampling.json_schema) - sampling.stop_ids
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        min_tokens=min_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        bad_words=list(sampling.bad_words) or None,
        seed=2**63 - 1 if sampling.seed == -1 else sampling.seed,  # to vLLM, -1 means no seed
        stop_token_ids=sorted(sampling.stop_ids),
        logit_bias={**sampling.logit_bias, **dict.fromkeys(unlikely_ids, BAN)} or None,
        ignore_eos=True,  # the stop ids include it where it ends a request
        # The sampled token's come in addition; all of them take time at every step.
        logprobs=sampling.top_logprobs if sampling.logprobs else None,
        structured_outputs=structured_outputs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
