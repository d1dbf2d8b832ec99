"""The response object of the Responses API, and its output items."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from anytime_server.api.openai import logprobs
from anytime_server.api.openai.responses.schema import ResponsesRequest
from anytime_server.api.schema.outcome import anytime_object
from anytime_server.api.schema.tools import CALL_ID_CHARACTERS
from anytime_server.errors import AnytimeError
from anytime_server.session import events
from anytime_server.text.answer_text import AnswerToken
from anytime_server.types import IgnoredFields

ItemStatus = Literal["in_progress", "completed", "incomplete"]


def opening(
    request: ResponsesRequest, *, response_id: str, model: str, is_stored: bool = False
) -> dict[str, Any]:
    """The response before anything is sampled: the request's fields, with the defaults."""
    reasoning, text = request.reasoning, request.text
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": bool(request.background),
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": reasoning and reasoning.effort,
            "summary": reasoning and reasoning.wanted_summary,
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": is_stored,
        "temperature": request.temperature,
        "text": {
            "format": text.format.model_dump(by_alias=True, exclude_none=True)
            if text.format is not None
            else {"type": "text"},
            "verbosity": "medium",
        },
        "tool_choice": request.tool_choice or "auto",
        "tools": [tool.for_response() for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
    }


def ended(
    opened: dict[str, Any],
    *,
    output: list[dict[str, Any]],
    is_incomplete: bool,
    done: events.Done,
    ignored: IgnoredFields,
) -> dict[str, Any]:
    """The response at its end.

    Args:
        is_incomplete: whether the answer ended at the most tokens it may have.
    """
    return opened | {
        "status": "incomplete" if is_incomplete else "completed",
        "completed_at": None if is_incomplete else int(time.time()),
        "incomplete_details": {"reason": "max_output_tokens"} if is_incomplete else None,
        "output": output,
        "usage": _usage(done.usage),
        "anytime": anytime_object(done, ignored),
    }


def failed(opened: dict[str, Any], *, output: list[dict[str, Any]], error: AnytimeError) -> dict[str, Any]:
    """A response that failed: with OpenAI's `code`, and ours in `type`."""
    detail = {"code": "server_error", "message": str(error), "type": error.code, "param": error.field}
    return opened | {"status": "failed", "output": output, "error": detail}


class Items:
    """Output items of one response, with ids that follow from its own."""

    def __init__(self, response_id: str) -> None:
        self._suffix = response_id.rpartition("_")[2]
        self._number = self._suffix

    def next_block(self) -> None:
        """Begin another reasoning item, and another message after it."""
        self._number = f"{int(self._number, 16) + 1:032x}"

    def reasoning(
        self, text: str, *, status: ItemStatus, is_summary: bool = False, continuation: str | None = None
    ) -> dict[str, Any]:
        """An item of thinking; one that is in progress has no content yet.

        Args:
            is_summary: the client reads summaries, and gets the text as one.
        """
        item: dict[str, Any] = {"id": f"rs_{self._number}", "type": "reasoning", "summary": [], "content": []}
        if status != "in_progress":
            item |= {"summary": [summary_part(text)]} if is_summary else {"content": [reasoning_part(text)]}
        return (
            item | ({} if continuation is None else {"encrypted_content": continuation}) | {"status": status}
        )

    def message(self, text: str, *, status: ItemStatus, tokens: Sequence[AnswerToken] = ()) -> dict[str, Any]:
        """The answer; one that is in progress has no content yet."""
        content = [] if status == "in_progress" else [text_part(text, tokens)]
        head = {"id": f"msg_{self._number}", "type": "message", "role": "assistant"}
        return head | {"content": content, "status": status}

    def call(self, index: int, call: dict[str, Any], *, status: ItemStatus) -> dict[str, Any]:
        """A call of a tool; one that is in progress has no arguments yet.

        Args:
            call: its fields, as `Toolbox.call_fields()` gives them.
        """
        number = f"{int(self._suffix, 16) + index:032x}"
        is_custom = call["type"] == "custom_tool_call"
        item = {
            "id": f"{'ctc' if is_custom else 'fc'}_{number}",
            "call_id": number[-CALL_ID_CHARACTERS:],
            **call,
            "status": status,
        }
        if status == "in_progress":
            item["input" if is_custom else "arguments"] = ""
        return item


def reasoning_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def summary_part(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def text_part(text: str, tokens: Sequence[AnswerToken] = ()) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": logprobs.entries(tokens, unknown_bytes=[]),
    }


def _usage(usage: events.Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.prompt_cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
