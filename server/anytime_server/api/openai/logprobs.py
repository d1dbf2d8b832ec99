"""Log-probabilities of an answer's tokens, as chat completions and responses have them.

Completions of texts have four lists instead: see `completions/encoder.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anytime_server.text.answer_text import AnswerToken

PART_OF_CHARACTER = "\ufffd"


def entries(
    tokens: Sequence[AnswerToken], *, with_bytes: bool = True, unknown_bytes: list[int] | None = None
) -> list[dict[str, Any]]:
    """An entry for each token, with those of its likeliest alternatives.

    Args:
        with_bytes: whether entries have `bytes`.
        unknown_bytes: `bytes` of a token that is a part of a character: they are not known here.
    """

    def entry(text: str, logprob: float) -> dict[str, Any]:
        entry: dict[str, Any] = {"token": text, "logprob": logprob}
        if with_bytes:
            entry["bytes"] = unknown_bytes if PART_OF_CHARACTER in text else list(text.encode())
        return entry

    return [
        entry(token.text, token.logprob) | {"top_logprobs": [entry(*likely) for likely in token.top]}
        for token in tokens
    ]
