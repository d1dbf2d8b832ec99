"""Constraints as llguidance's grammars. Knows no vocabulary."""

from __future__ import annotations

import json
import re

from anytime_server.engine.constraint import Constraint


def grammar_of(constraint: Constraint) -> str:
    """llguidance's grammar of an enforceable constraint, as vLLM makes it.

    Raises:
        ValueError: it has a fault.
    """
    from llguidance import LLMatcher, grammar_from

    if constraint.kind == "json_schema":
        return LLMatcher.grammar_from_json_schema(constraint.text)
    return grammar_from(constraint.kind, constraint.text)


def with_calls(constraint: Constraint, *, start: str, start_id: int | None, excluded_id: int) -> Constraint:
    """A constraint whose texts may be tool calls instead: anything that begins with `start`.

    Args:
        constraint: enforceable, and no grammar.
        start: text that begins a call; white space may come before it, as models write it.
        start_id: the token of that text, if there is one.
        excluded_id: a token that is in no call. There must be one: xgrammar 0.2, which applies vLLM's masks
            on a CPU, writes beyond the logits where every token is allowed.
    """
    match constraint.kind:
        case "json_schema":
            answer = f"%json {constraint.text}"
        case "regex":
            answer = f"/{_within_slashes(constraint.text)}/"
        case _:
            answer = " | ".join(json.dumps(choice) for choice in json.loads(constraint.text))
    begin = json.dumps(start, ensure_ascii=False) + ("" if start_id is None else f" | <[{start_id}]>")
    rules = {
        "start": "answer | call",
        "answer": answer,
        "call": "space? begin rest*",
        "space": r"/[ \n]{1,4}/",
        "begin": begin,
        "rest": f"<[^{excluded_id}]>",
    }
    return Constraint("grammar", "\n".join(f"{name}: {rule}" for name, rule in rules.items()))


def _within_slashes(pattern: str) -> str:
    """A regular expression as a grammar has it: no slash or line break of its own ends it."""
    escaped = {"/": r"\/", "\n": r"\n", "\r": r"\r"}
    return re.sub(
        r"\\?(.)",
        lambda found: escaped.get(found[1], found[0]),
        pattern,
        flags=re.DOTALL,
    )
