"""From the tokens of one answer to its text: without thinking, up to a stop string, never blank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from anytime_server.engine import Delta
from anytime_server.session.events import AnswerToken
from anytime_server.session.request import AnswerRequest
from anytime_server.text.model import Model


class AnswerText:
    """Text of an answer as its tokens come.

    Held back are white space until something else follows, and what may be the beginning of a stop
    string. Think tokens, and thinking that they open again, are left out and counted.
    """

    def __init__(self, request: AnswerRequest, model: Model) -> None:
        self.token_ids: list[int] = []
        self.shown_ids: set[int] = set()
        """Of those, the ones that are no thinking and end no turn."""
        self.text = ""
        """All that was shown."""
        self.cached_tokens = 0
        self.finish_reason: Literal["stop", "length"] = "stop"
        self.stop_sequence: str | None = None
        """The stop string that it came to; there is nothing to take in after it."""
        self.num_leaked_tokens = 0
        """Tokens that were thinking and are not shown."""
        self._request = request
        self._model = model
        self._stream = model.tokenizer.detokenizer(keeps_special=request.keeps_special_tokens)
        self._is_thinking = False
        self._held = ""
        self._untold: list[AnswerToken] = []
        self._sum_probability = 0.0

    @property
    def confidence(self) -> float | None:
        """Mean probability of the tokens sampled, if that is to be told."""
        if not self._request.tells_confidence:
            return None
        return self._sum_probability / max(1, len(self.token_ids))

    def push(self, delta: Delta) -> str:
        """Take a delta in; returns the text to show for it."""
        self.token_ids.extend(delta.token_ids)
        self.cached_tokens = delta.cached_tokens
        self._sum_probability += sum(math.exp(logprob) for logprob in delta.logprobs)
        if delta.finish_reason == "length":
            self.finish_reason = "length"
        is_shown = [self._is_shown(token_id) for token_id in delta.token_ids]
        if self._request.top_logprobs is not None:
            self._note(delta, is_shown)
        shown_ids = [i for i, shown in zip(delta.token_ids, is_shown, strict=True) if shown]
        self.shown_ids.update(shown_ids)
        self._held += self._stream.push(shown_ids)
        if delta.finish_reason is not None:
            self._held += self._stream.flush()
        return self._show(is_last=delta.finish_reason is not None)

    def take_tokens(self) -> tuple[AnswerToken, ...]:
        """The tokens that came since this was last asked for, where they are to be reported."""
        tokens, self._untold = tuple(self._untold), []
        return tokens

    def _is_shown(self, token_id: int) -> bool:
        reasoning = self._model.reasoning
        if token_id in (reasoning.think_start_id, reasoning.think_end_id):
            self._is_thinking = token_id == reasoning.think_start_id
        elif token_id in reasoning.eos_ids:
            return False
        elif not self._is_thinking:
            return True
        self.num_leaked_tokens += 1
        return False

    def _note(self, delta: Delta, is_shown: Sequence[bool]) -> None:
        decode = self._model.tokenizer.decode
        for place, (token_id, logprob) in enumerate(zip(delta.token_ids, delta.logprobs, strict=True)):
            if is_shown[place]:
                top = delta.top_logprobs[place] if delta.top_logprobs else ()
                likeliest = tuple((decode([i]), likelihood) for i, likelihood in top)
                self._untold.append(AnswerToken(text=decode([token_id]), logprob=logprob, top=likeliest))

    def _show(self, *, is_last: bool) -> str:
        if not self.text and not self._held.strip():
            return ""
        first = 0 if self.text else len(self._held) - len(self._held.lstrip())
        found = [(at, stop) for stop in self._request.stop if (at := self._held.find(stop, first)) >= 0]
        if found:
            end, self.stop_sequence = min(found, key=lambda one: one[0])
            self.finish_reason = "stop"
        else:
            end = len(self._held) - (0 if is_last else self._num_begun(first))
        shown, self._held = self._held[:end], self._held[end:]
        if not self.text and not shown.strip():
            self._held, shown = shown + self._held, ""
        self.text += shown
        return shown

    def _num_begun(self, first: int) -> int:
        """Characters at the end that may be the beginning of a stop string."""
        longest = max(map(len, self._request.stop), default=1) - 1
        tails = (self._held[-n:] for n in range(min(longest, len(self._held) - first), 0, -1))
        return next((len(tail) for tail in tails if any(s.startswith(tail) for s in self._request.stop)), 0)
