"""One choice of a chat completion: as it is streamed, and as the sum of its chunks. Knows no events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anytime_server.session import events
from anytime_server.text.answer_text import AnswerToken
from anytime_server.types import ReasoningField

ThinkingPlace = ReasoningField | Literal["content", "nowhere"]
"""Where the thinking is shown: in a field of its own, in the content between tags, or not at all."""

TAG, END_TAG = "<think>\n", "\n</think>\n\n"
"""Around thinking in the content, whatever the model's own markers: clients look for these."""


REASONING_FIELDS: Mapping[ThinkingPlace, tuple[str, ...]] = {
    "reasoning_content": ("reasoning_content",),
    "reasoning": ("reasoning",),
    "both": ("reasoning_content", "reasoning"),
    "content": ("reasoning_content",),
    "nowhere": (),
}
"""Fields for the thinking in every delta and message, null where there is none of it."""


@dataclass(slots=True, kw_only=True)
class StreamedChoice:
    """One choice while it is streamed."""

    index: int
    place: ThinkingPlace
    has_tools: bool
    is_opened: bool = False
    """Whether its first delta, which has the role, has been made."""
    is_in_tags: bool = False
    """Whether its content has an open tag."""
    finish_reason: str | None = None
    unreported: list[AnswerToken] = field(default_factory=list)
    """Tokens that had no text to go with."""
    thinking_tokens: int = 0
    answer_tokens: int = 0
    early_tokens: int = 0
    usage: events.Usage | None = None
    """Known when it is done."""

    @property
    def output_tokens(self) -> int:
        """Tokens sampled until now."""
        if self.usage is not None:
            return self.usage.output_tokens
        return self.thinking_tokens + self.answer_tokens + self.early_tokens

    @property
    def reasoning_tokens(self) -> int:
        """Thinking tokens sampled until now."""
        return self.thinking_tokens if self.usage is None else self.usage.thinking_tokens

    def thinking(self, text: str) -> dict[str, Any] | None:
        """The delta for new thinking; None where nothing is to be sent."""
        if self.place == "nowhere" or not text:
            # The first token shows that there is an answer to come, and the completion's id.
            return None if self.is_opened else self._delta({})
        if self.place == "content":
            text, self.is_in_tags = text if self.is_in_tags else TAG + text, True
            return self._delta({"content": text})
        return self._delta(dict.fromkeys(REASONING_FIELDS[self.place], text))

    def answer(self, text: str) -> dict[str, Any] | None:
        """The delta for new text of the answer; None where nothing is to be sent."""
        text = self._closing_tag() + text
        return self._delta({"content": text}) if text or not self.has_tools else None

    def calls(self, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The delta for tool calls."""
        tag = self._closing_tag()
        return self._delta(({"content": tag} if tag else {}) | {"tool_calls": list(calls)})

    def last(self) -> dict[str, Any]:
        """The delta beside the finish reason."""
        # Clients add up the content of every chunk without thinking, as in DeepSeek's own examples.
        content = self._closing_tag() or ("" if self.finish_reason != "tool_calls" else None)
        return self._delta({"content": content})

    def _closing_tag(self) -> str:
        tag, self.is_in_tags = END_TAG if self.is_in_tags else "", False
        return tag

    def _delta(self, fields: dict[str, Any]) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": None} | dict.fromkeys(REASONING_FIELDS[self.place]) | fields
        if not self.is_opened:
            self.is_opened = True
            delta = {"role": "assistant"} | delta
            if delta["content"] is None and not self.has_tools:
                delta["content"] = ""
        return delta


class WholeChoice:
    """The sum of one choice's chunks."""

    def __init__(self, place: ThinkingPlace) -> None:
        self._reasoning_fields = REASONING_FIELDS[place]
        self._texts: dict[str, str] = dict.fromkeys(("content", *self._reasoning_fields), "")
        self._tool_calls: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}

    def add(self, choice: dict[str, Any]) -> None:
        delta = choice["delta"]
        for name in self._texts:
            self._texts[name] += delta[name] or ""
        for call in delta.get("tool_calls", ()):
            self._tool_calls.append({name: value for name, value in call.items() if name != "index"})
        if choice["logprobs"] is not None:
            self._logprobs += choice["logprobs"]["content"]
        self._last = choice

    def body(self, index: int) -> dict[str, Any]:
        content = self._texts["content"]
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        message |= {name: self._texts[name] or None for name in self._reasoning_fields}
        if self._tool_calls:
            message |= {"content": content or None, "tool_calls": self._tool_calls}
        own = {"anytime": self._last["anytime"]} if "anytime" in self._last else {}
        return {
            "index": index,
            "message": message,
            "logprobs": {"content": self._logprobs, "refusal": None} if self._logprobs else None,
            "finish_reason": self._last["finish_reason"],
            **own,
        }
