"""Completions as chunks of a stream; the whole completion is their fold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from anytime_server.api.openai.chunks import DONE, Chunk, frame, head
from anytime_server.api.openai.errors import error_object
from anytime_server.api.schema.outcome import anytime_object
from anytime_server.api.sse import Encoder
from anytime_server.session import events
from anytime_server.text.answer_text import AnswerToken
from anytime_server.types import IgnoredFields

FIRST: dict[str, list[Any]] = {
    "tokens": [],
    "token_logprobs": [None],
    "top_logprobs": [None],
    "text_offset": [0],
}
"""Log-probabilities of a prompt's first token: it has none."""


class CompletionEncoder(Encoder[Chunk]):
    """Events of the choices' sessions as `text_completion`s."""

    def __init__(
        self,
        choices_per_prompt: int,
        *,
        prompts: Sequence[str],
        echoes: bool,
        shows_answer: bool,
        shows_usage: bool,
        think_end: str,
        ignored: IgnoredFields,
    ) -> None:
        """
        Args:
            echoes: whether each text begins with its prompt.
            shows_answer: whether there is more than that.
            think_end: stands between thinking and answer, where there is thinking.
        """
        self._head: dict[str, Any] = {}
        """Fields of every chunk; known from the first session's first event on."""
        self._choices_per_prompt = choices_per_prompt
        texts = prompts if echoes else [""] * len(prompts)
        self._choices = [_Choice(text) for text in texts for _ in range(choices_per_prompt)]
        self._shows_answer = shows_answer
        self._shows_usage = shows_usage
        self._think_end = think_end
        self._ignored = ignored

    def encode(self, index: int, event: events.Event) -> Iterator[Chunk]:
        choice = self._choices[index]
        match event:
            case events.Started():
                self._head = self._head or head(event, "text_completion")
            case events.ThinkingDelta(text=text) if text:
                choice.has_thought = True
                yield self._chunk(index, text)
            case events.AnswerStarted(provisional=False) if choice.has_thought:
                choice.before += self._think_end
            case events.PromptScored():
                choice.scored = event
            case events.AnswerDelta(provisional=False) if self._shows_answer:
                choice.unreported += event.tokens
                if event.text:
                    yield self._chunk(index, event.text)
            case events.AnswerDone(provisional=False):
                choice.finish_reason = event.finish_reason
            case events.Done():
                yield from self._last(index, event)
            case events.Failed(error=error):
                yield {"error": error_object(str(error), error.code, error.field, 500)}
            case _:
                return

    def _last(self, index: int, done: events.Done) -> Iterator[Chunk]:
        """The last chunk of a choice; that of the last choice ends the stream."""
        choice = self._choices[index]
        choice.usage = done.usage
        own = {"anytime": anytime_object(done, self._ignored)}
        chunk = self._chunk(index, "", finish_reason=choice.finish_reason)
        if len(self._choices) > 1:
            chunk["choices"][0] |= own
        yield chunk | (own if index == 0 else {})
        usages = [choice.usage for choice in self._choices if choice.usage is not None]
        if len(usages) < len(self._choices):
            return
        if self._shows_usage:
            yield {**self._head, "choices": [], "usage": _usage(usages, self._choices_per_prompt)}
        yield DONE

    def _chunk(self, index: int, text: str, *, finish_reason: str | None = None) -> Chunk:
        text, logprobs = self._choices[index].take(text)
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        return {**self._head, "choices": [choice]}

    def fold(self, stream: Iterable[Chunk]) -> dict[str, Any]:
        choices: list[dict[str, Any]] = [{} for _ in self._choices]
        whole: dict[str, Any] = {}
        for chunk in stream:
            for part in chunk.get("choices", ()):
                choices[part["index"]] = _joined(choices[part["index"]], part)
            whole |= {field: chunk[field] for field in ("usage", "anytime") if field in chunk}
        return {**self._head, "choices": choices, **whole}

    def frame(self, wire: Chunk) -> bytes:
        return frame(wire)


class _Choice:
    """One choice: its text that is yet to be sent, and how it ended."""

    def __init__(self, before: str) -> None:
        self.before = before
        """Text that is sent together with the next."""
        self.unreported: list[AnswerToken] = []
        """Tokens that had no text to go with."""
        self.scored: events.PromptScored | None = None
        """The prompt's tokens, which are sent with the first text."""
        self.has_thought = False
        self.finish_reason: str | None = None
        self.usage: events.Usage | None = None
        self._num_characters = 0

    def take(self, text: str) -> tuple[str, dict[str, Any] | None]:
        """The text to send, and its tokens with their log-probabilities."""
        (tokens, self.unreported), (scored, self.scored) = (self.unreported, []), (self.scored, None)
        offset = self._num_characters + len(self.before)
        text, self.before = self.before + text, ""
        self._num_characters += len(text)
        logprobs = _logprobs(tokens, offset, self._num_characters) if tokens else None
        if scored is None:
            return text, logprobs
        first = FIRST | {"tokens": [scored.first]}
        of_prompt = _joined_lists(first, _logprobs(scored.tokens, len(scored.first), offset))
        return text, _joined_lists(of_prompt, logprobs) if logprobs else of_prompt


def _logprobs(tokens: Sequence[AnswerToken], offset: int, end: int) -> dict[str, list[Any]]:
    """OpenAI's four lists.

    Args:
        offset: of the first token in the text of its choice.
        end: of that text until now, which parts of characters cannot go beyond.
    """
    offsets: list[int] = []
    for token in tokens:
        offsets.append(min(offset, end))
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        # The sampled token is there even if it is none of the likeliest.
        "top_logprobs": [{token.text: token.logprob} | dict(token.top) for token in tokens],
        "text_offset": offsets,
    }


def _joined(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A choice and its next part."""
    if not whole:
        return part
    logprobs = whole["logprobs"] or part["logprobs"]
    if whole["logprobs"] and part["logprobs"]:
        logprobs = _joined_lists(whole["logprobs"], part["logprobs"])
    return part | {"text": whole["text"] + part["text"], "logprobs": logprobs}


def _joined_lists(first: dict[str, list[Any]], then: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [*values, *then[name]] for name, values in first.items()}


def _usage(usages: Sequence[events.Usage], choices_per_prompt: int) -> dict[str, Any]:
    """The sum over all choices; the choices of a prompt share it."""
    of_prompts = usages[::choices_per_prompt]
    prompt_tokens = sum(usage.prompt_tokens for usage in of_prompts)
    completion_tokens = sum(usage.output_tokens for usage in usages)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": sum(usage.thinking_tokens for usage in usages)},
        "prompt_tokens_details": {"cached_tokens": sum(usage.prompt_cached_tokens for usage in of_prompts)},
    }
