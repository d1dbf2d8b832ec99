"""Warm-up: a few sessions of the server's own, so that latencies are known before the first request."""

from __future__ import annotations

from anytime_server.reasoning import SamplingOptions, usual_answer_tokens
from anytime_server.text.model import Model
from anytime_server.types import GenerateRequest

WARM_UP_SESSIONS, MEASURED_SESSIONS, LONG_SESSIONS = 3, 6, 2
LONG_PROMPT_TOKENS = 512
"""Approximate length of the prompts that measure the cost of prompts."""


def warm_up_requests(model: Model, *, window_tokens: int, num_sessions: int) -> list[GenerateRequest]:
    """Short requests, greedy and sampled in turn, and then a few with long prompts.

    No two long prompts begin alike, so that none is found in the prefix cache.
    """
    # With a limit: some models do not end their answers by themselves.
    answer_tokens = usual_answer_tokens(model.manifest.answer_tokens, window_tokens=window_tokens)
    content = (model.manifest.examples or ["What is 2 + 2?"])[0]
    requests = [
        _request(
            content,
            min(32, window_tokens // 4),
            seed=seed,
            answer_tokens=answer_tokens,
            temperature=0.6 * (seed % 2),
        )
        for seed in range(num_sessions)
    ]
    long_tokens = min(LONG_PROMPT_TOKENS, window_tokens // 2)
    times = long_tokens // max(1, len(model.tokenizer.encode(content)))
    for seed in range(min(LONG_SESSIONS, num_sessions)):
        long = f"{num_sessions + seed}: {content * times}"
        requests.append(_request(long, 1, seed=seed, answer_tokens=answer_tokens))
    return requests


def _request(
    content: str, budget_tokens: int, *, seed: int, answer_tokens: int, temperature: float = 0.0
) -> GenerateRequest:
    return GenerateRequest(
        messages=[{"role": "user", "content": content}],
        budget_tokens=budget_tokens,
        answer_tokens=answer_tokens,
        answer=SamplingOptions(temperature=temperature),
        seed=seed,
    )
