"""A session as one message of Anthropic's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal
from uuid import uuid4

from anytime_server.api.sse import Transcript, anytime_object
from anytime_server.session import events
from anytime_server.text.tool_calls import ToolCall, ToolCallReader

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


async def message(
    transcript: Transcript, *, omits_thinking: bool, calls: ToolCallReader | None, most_calls: int | None
) -> dict[str, Any]:
    """All of a session.

    Args:
        omits_thinking: give a thinking block's signature alone.
        calls: reads the calls of tools in the answer; None where there are no tools.
        most_calls: how many of them are given; None for all.
    """
    done, answer = transcript.done, transcript.answers[-1]
    content: list[dict[str, Any]] = []
    if done.stop.thinking_tokens > 0:
        thinking = "" if omits_thinking else transcript.thinking
        content.append({"type": "thinking", "thinking": thinking, "signature": done.continuation or ""})
    text, called = answer.text, []
    if calls is not None:
        text = calls.push(answer.text)
        rest, called = await asyncio.to_thread(calls.finish)  # parsers can take long
        text, called = text + rest, called[:most_calls]
    if text:  # the client's stop sequence can leave none
        content.append({"type": "text", "text": text})
    content += [tool_use(call, json.loads(call.arguments)) for call in called]
    return {
        "id": done.id,
        "type": "message",
        "role": "assistant",
        "model": transcript.model,
        "content": content,
        **stop_of(answer, called),
        "usage": usage_of(done.usage),
        "anytime": anytime_object(done),
    }


def tool_use(call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
    """A block that calls a tool."""
    return {"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": call.name, "input": arguments}


def stop_of(answer: events.Answer, called: Sequence[ToolCall]) -> dict[str, Any]:
    """Why the message ends: `stop_reason` and `stop_sequence`."""
    reason: StopReason = "end_turn"
    if answer.finish_reason == "length":
        reason = "max_tokens"
    elif answer.stop_sequence is not None:
        reason = "stop_sequence"
    elif called:
        reason = "tool_use"
    return {"stop_reason": reason, "stop_sequence": answer.stop_sequence}


def usage_of(usage: events.Usage) -> dict[str, Any]:
    """Tokens in Anthropic's terms; provisional answers are output, too."""
    return input_usage(usage.prompt_tokens, cached_tokens=usage.prompt_cached_tokens) | {
        "output_tokens": usage.thinking_tokens + usage.answer_tokens + usage.provisional_tokens,
        "output_tokens_details": {"thinking_tokens": usage.thinking_tokens},
    }


def input_usage(prompt_tokens: int, *, cached_tokens: int) -> dict[str, Any]:
    """The prompt in Anthropic's terms: what was found in the cache is counted apart from the rest."""
    return {
        "input_tokens": prompt_tokens - cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
    }
