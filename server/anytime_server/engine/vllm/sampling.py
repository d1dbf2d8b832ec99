"""Our sampling parameters as vLLM's. Imported once vLLM is: it takes seconds."""

from __future__ import annotations

import json

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from anytime_server.engine.base import Sampling
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured.compiler import ConstraintCompiler

BAN = -100.0
"""Logit bias of tokens that are not to be sampled; overrides the client's."""


def sampling_params(
    sampling: Sampling, constraints: ConstraintCompiler, *, speculates: bool
) -> SamplingParams:
    """vLLM's parameters of a request.

    Args:
        constraints: has compiled the request's, if there is one.
        speculates: the engine decodes speculatively; vLLM then takes no `logit_bias`.
    """
    min_tokens, stop_ids, structured_outputs = sampling.min_tokens, sampling.stop_ids, None
    if sampling.constraint is not None:
        structured_outputs = _structured_outputs(sampling.constraint)
        min_tokens = 0  # or no token could be sampled once the text is complete
        stop_ids |= constraints.end_ids  # vLLM allows no other id then
    logit_bias = {**sampling.logit_bias, **dict.fromkeys(sampling.banned_ids, BAN)}
    params = SamplingParams(
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
        stop_token_ids=sorted(stop_ids),
        logit_bias=None if speculates else logit_bias or None,
        ignore_eos=True,  # the stop ids include it where it ends a request
        # The sampled token's come in addition; all of them take time at every step.
        logprobs=sampling.top_logprobs if sampling.logprobs else None,
        structured_outputs=structured_outputs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
    if speculates and sampling.banned_ids:
        params._bad_words_token_ids = [[token_id] for token_id in sorted(sampling.banned_ids)]
    return params


def _structured_outputs(constraint: Constraint) -> StructuredOutputsParams:
    match constraint.kind:
        case "json_schema":
            return StructuredOutputsParams(json=constraint.text)
        case "regex":
            return StructuredOutputsParams(regex=constraint.text)
        case "choice":
            return StructuredOutputsParams(choice=json.loads(constraint.text))
        case "grammar":
            return StructuredOutputsParams(grammar=constraint.text)
