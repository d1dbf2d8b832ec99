"""The text of one answer from its tokens: the one pipeline in which text is held back.

Tokens of thinking, of headers and of the end of a turn are dropped; then the detokenizer holds back
incomplete characters, leading white space and what may begin a stop string wait, and tool calls are split
off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from anytime_server.engine import Delta
from anytime_server.reasoning import Part, num_begun
from anytime_server.text.channels import ChannelReader, readable_channels
from anytime_server.text.model import Model
from anytime_server.text.think_markers import ThinkMarkers
from anytime_server.text.tool_calls import CallParser, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerToken:
    """A token of an answer and how likely it was."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]
    """The likeliest tokens at its position with their log-probabilities, likeliest first."""


class AnswerText:
    """Text of an answer as its tokens arrive."""

    def __init__(
        self,
        model: Model,
        *,
        stop: Sequence[str] = (),
        stop_ids: frozenset[int] = frozenset(),
        tool_parser: CallParser | None = None,
        keeps_special_tokens: bool = False,
        reports_tokens: bool = False,
        begun: str = "",
        is_opened: bool = False,
        may_still_think: bool = False,
        is_constrained: bool = False,
    ) -> None:
        """
        Args:
            stop: strings before which the answer ends.
            stop_ids: token ids that end the answer; none of them is shown.
            keeps_special_tokens: show special tokens, all but those around thinking and at the end of a turn.
            reports_tokens: keep the tokens for `take_tokens()`.
            begun: text that the answer begins with, which is there before its first token.
            is_opened: whether its prompt ends in text for the user even if the model may call tools.
            may_still_think: the thinking was truncated, so that the model may end it in its own way first.
            is_constrained: a constraint says where the answer ends, and not the text that closes others.
        """
        self.token_ids: list[int] = []
        self.shown_ids: set[int] = set()
        """Of those, the ones that neither belong to thinking nor end a turn."""
        self.sampled_text = ""
        """Text of the answer, tool calls included."""
        self.text = ""
        """All that was shown: without tool calls."""
        self.tool_calls: list[ToolCall] = []
        self.finish_reason: Literal["stop", "length"] = "stop"
        self.has_ended = False
        """Whether a stop string was reached, or the text that closes an answer; no delta follows."""
        self.stop_sequence: str | None = None
        """The client's stop string that was reached."""
        self.num_leaked_tokens = 0
        """Tokens that were thinking and are not shown."""
        self._model = model
        self._tool_calls = None if tool_parser is None else tool_parser.reader()
        self._calls_in_own_syntax = tool_parser is not None and tool_parser.in_own_syntax
        channels = readable_channels(model.family.channels, model.tokenizer)
        self._channels = (
            ChannelReader(channels, model.tokenizer, begins_in=self._first_part(is_opened))
            if channels is not None
            else None
        )
        self._may_still_think = may_still_think
        self._markers = None if self._channels else ThinkMarkers(model)
        answer_end = "" if self._channels or is_constrained else model.manifest.answer_end
        self._answer_ends = tuple(dict.fromkeys((answer_end, answer_end.strip()))) if answer_end else ()
        """With the white space that the model was trained with, and without."""
        self._dropped = self._answer_ends if self._calls_in_own_syntax else ()
        """Text that is left out: it closes an answer, but calls may follow."""
        self._stop = tuple(stop) if self._dropped else (*stop, *self._answer_ends)
        markers = () if self._markers is None else self._markers.texts
        self._held_back = (*self._stop, *self._dropped, *markers)
        self._hidden_ids = model.reasoning.eos_ids | stop_ids
        has_call_channels = channels is not None and channels.has_calls
        keeps_special = keeps_special_tokens or (
            tool_parser is not None and tool_parser.keeps_special_tokens and not has_call_channels
        )
        self._keeps_special = keeps_special_tokens
        self._detokenizer = model.tokenizer.detokenizer(keeps_special=keeps_special)
        self._reports_tokens = reports_tokens
        self._is_thinking = False
        self._held = begun
        self._unreported: list[AnswerToken] = []
        self._sum_probability = 0.0

    @property
    def is_blank(self) -> bool:
        """Whether nothing was sampled that can be shown, and no stop string was reached."""
        return not self.sampled_text and self.stop_sequence is None

    @property
    def confidence(self) -> float:
        """Mean probability of the tokens sampled, 0 to 1; 0 where the engine gave no log-probabilities."""
        return self._sum_probability / max(1, len(self.token_ids))

    @property
    def may_call_tools(self) -> bool:
        return self._tool_calls is not None

    @property
    def has_begun_to_think(self) -> bool:
        """Whether the last token completed the header, or the marker in ordinary text, of more thinking."""
        if self._channels is not None:
            return self._channels.part is Part.THINKING
        return self._markers is not None and self._markers.has_begun_to_think

    @property
    def header_ids(self) -> frozenset[int]:
        """Tokens that begin another channel; an answer that is opened needs none of them."""
        return frozenset() if self._channels is None else self._channels.open_ids

    @property
    def num_tool_parser_failures(self) -> int:
        return 0 if self._tool_calls is None else self._tool_calls.num_failures

    def push(self, delta: Delta) -> str:
        """Take in a delta, up to a stop string or the header of more thinking; returns the text to show for
        it, which may be empty."""
        if len(delta.token_ids) < 2 or not (self._held_back or self._channels):
            return self._push(delta)
        shown = ""
        for one in delta.single_tokens():
            shown += self._push(one)
            if self.has_ended or self.has_begun_to_think:
                break
        return shown

    def _push(self, delta: Delta) -> str:
        self.token_ids.extend(delta.token_ids)
        self._sum_probability += sum(math.exp(logprob) for logprob in delta.logprobs)
        if delta.finish_reason == "length":
            self.finish_reason = "length"
        is_shown = [self._is_shown(token_id) for token_id in delta.token_ids]
        if self._reports_tokens:
            self._note_tokens(delta, is_shown)
        shown_ids = [i for i, shown in zip(delta.token_ids, is_shown, strict=True) if shown]
        self.shown_ids.update(shown_ids)
        self._held += self._detokenizer.push(shown_ids)
        if delta.finish_reason is not None:
            self._held += self._detokenizer.flush()
        sampled = self._released(is_last=delta.finish_reason is not None or self.has_ended)
        self.sampled_text += sampled
        return self._shown(sampled if self._tool_calls is None else self._tool_calls.push(sampled))

    def finish(self) -> str:
        """The rest of the text, after the last delta; reads the tool calls, which may take long."""
        if self._tool_calls is None:
            return ""
        blocks: list[str] = []
        if self._channels is not None:
            decode = partial(self._model.tokenizer.decode, keeps_special=True)
            blocks, self._channels.calls = list(map(decode, self._channels.calls)), []
        rest, calls = self._tool_calls.finish(blocks)
        self.tool_calls += calls
        return self._shown(rest)

    def end_thinking(self, *, is_opened: bool = False) -> None:
        """The model has thought again, elsewhere: what follows is the answer, opened or not."""
        self._is_thinking = False
        if self._markers is not None:
            self._markers.has_begun_to_think = False
        if self._channels is not None:
            self._channels.restart(self._first_part(is_opened))

    def take_tokens(self) -> tuple[AnswerToken, ...]:
        """Tokens that arrived since the last call, where they are reported."""
        tokens, self._unreported = tuple(self._unreported), []
        return tokens

    def _first_part(self, is_opened: bool) -> Part | None:
        """The part of an answer in channels that its prompt ends in; None for a header."""
        if is_opened:
            return Part.FINAL
        begins_in_header = self._calls_in_own_syntax and self._model.reasoning.answer_start_with_tools_ids
        return None if begins_in_header else Part.TEXT

    def _is_in_text(self, token_id: int, channels: ChannelReader) -> bool:
        """Whether a token of an answer in channels is text for the user."""
        if token_id in self._hidden_ids and token_id not in channels.end_ids:
            return False
        before = channels.part
        part = channels.push(token_id)
        if part is Part.THINKING:
            self.num_leaked_tokens += 1
        elif part is Part.CALL:
            self.sampled_text += self._model.tokenizer.decode([token_id], keeps_special=True)
        now = channels.part
        if now is Part.CALL and before is not Part.CALL:
            self.sampled_text += self._model.tokenizer.decode(channels.calls[-1], keeps_special=True)
        if before.is_text and not now.is_text:
            is_over = before is Part.FINAL or (not self._calls_in_own_syntax and now is not Part.THINKING)
            self.has_ended = is_over and not self._may_still_think
            self._may_still_think = self._may_still_think and not is_over
        if now.is_text and not before.is_text and (self.text or self._held.strip()):
            self._held += "\n\n"
        return part.is_text

    def _is_shown(self, token_id: int) -> bool:
        if self._channels is not None:
            return self._is_in_text(token_id, self._channels)
        reasoning = self._model.reasoning
        if token_id in (reasoning.think_start_id, reasoning.think_end_id):
            self._is_thinking = token_id == reasoning.think_start_id
        elif token_id in self._hidden_ids:
            return False
        elif not self._is_thinking:
            return True
        self.num_leaked_tokens += 1
        return False

    def _note_tokens(self, delta: Delta, is_shown: Sequence[bool]) -> None:
        decode = partial(self._model.tokenizer.decode, keeps_special=self._keeps_special)
        for position, (token_id, logprob) in enumerate(zip(delta.token_ids, delta.logprobs, strict=True)):
            if is_shown[position]:
                top = delta.top_logprobs[position] if delta.top_logprobs else ()
                likeliest = tuple((decode([i]), likelihood) for i, likelihood in top)
                self._unreported.append(AnswerToken(text=decode([token_id]), logprob=logprob, top=likeliest))

    def _released(self, *, is_last: bool) -> str:
        """Text that no longer has to wait for what follows; ends at a stop string."""
        if self._markers is not None:
            self._held = self._markers.without(self._held, before=self.sampled_text)
            is_last = is_last or self._markers.has_begun_to_think
        for text in self._dropped:
            self._held = self._held.replace(text, "")
        if not self.sampled_text and not self._held.strip():
            return ""
        # White space before the text is no reason to stop.
        text_at = 0 if self.sampled_text else len(self._held) - len(self._held.lstrip())
        found = [
            (at, stop)
            for stop in self._stop
            if (at := self._held.find(stop, 0 if stop.strip() else text_at)) >= 0
        ]
        if found:
            end, stop = min(found, key=lambda match: match[0])
            self.has_ended, self.finish_reason = True, "stop"
            self.stop_sequence = None if stop in self._answer_ends else stop
        else:
            end = len(self._held) - (0 if is_last else num_begun(self._held, self._held_back))
        released, self._held = self._held[:end], self._held[end:]
        if not self.sampled_text and not released.strip():
            self._held, released = released + self._held, ""
        return released

    def _shown(self, text: str) -> str:
        self.text += text
        return text
