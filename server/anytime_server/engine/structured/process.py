"""The process that compiles constraints and checks texts.

Each line of its input is a JSON list of arguments, by which `answer()` says what is asked. The first line of
its output describes the vocabulary, each further line is a `Reply`. A child gives each reply: what ends the
child is a refusal, and costs nothing that was loaded.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, TypedDict

from anytime_server.engine.constraint import Constraint
from anytime_server.engine.processes import end_with_parent
from anytime_server.engine.structured.faults import find_fault, read_schema
from anytime_server.engine.structured.grammar import grammar_of
from anytime_server.engine.structured.masks import find_mask_fault
from anytime_server.engine.structured.relax import in_present_form, relax, relax_further
from anytime_server.engine.structured.violations import unresolved, violation
from anytime_server.engine.structured.vocabulary import Vocabulary

START_LIMIT_S = 120
"""For importing the libraries, on a machine that is busy with other things."""
STACK_BYTES = 4 << 20
"""Half of what threads of the engine have: a recursion that would end these ends the child."""
CONVERSION_LIMIT_S = 0.1
"""Processor time of the step that vLLM repeats on the server's event loop for every request."""
CHECK_LIMIT_S = 2.0
"""Processor time of checking one text."""


class Reply(TypedDict, total=False):
    """The verdict on a constraint, or on a text."""

    refusal: str
    """Why tokens cannot be held to the constraint; the rest is missing then."""
    text: str
    """The constraint's, as the engine enforces it."""
    left_out: list[str]
    unknown: list[str]
    is_exact: bool
    violated: str | None
    """JSON pointer of a keyword that the text violates."""
    unchecked: str
    """Why the text was not checked."""


def compiled(vocabulary: Vocabulary, constraint: Constraint) -> Reply:
    """The part of a constraint that tokens can be held to."""
    if constraint.kind != "json_schema":
        refused = _refusal(vocabulary, constraint)
        return {"refusal": refused} if refused else {"text": constraint.text}
    schema = read_schema(constraint.text)
    if isinstance(schema, str):
        return {"refusal": schema}
    schema = in_present_form(schema)
    if (fault := find_fault(schema)) is not None:
        return {"refusal": fault}
    relaxed = relax(schema)
    try:
        started_s = time.thread_time()
        text = json.dumps(relaxed.closed, separators=(",", ":"))
        grammar_of(Constraint("json_schema", text))
        if time.thread_time() - started_s > CONVERSION_LIMIT_S:
            return {"refusal": "the JSON schema takes too long to compile: it repeats too much"}
        if (reason := relax_further(relaxed)) is not None:
            return {"refusal": f"the JSON schema cannot be enforced: {reason}"}
        text = json.dumps(relaxed.closed, separators=(",", ":"))
        refused = _refusal(vocabulary, Constraint("json_schema", text))
        if not refused and not relaxed.is_exact and (reason := unresolved(constraint.text)) is not None:
            refused = f"the JSON schema cannot be enforced: {reason}"
    except MemoryError:
        return {"refusal": "the JSON schema cannot be enforced: it takes too much memory to compile"}
    if refused:
        return {"refusal": refused}
    return {
        "text": text,
        "left_out": relaxed.left_out,
        "unknown": relaxed.unknown,
        "is_exact": relaxed.is_exact,
    }


def _refusal(vocabulary: Vocabulary, constraint: Constraint) -> str | None:
    """Why tokens cannot be held to an enforceable constraint, as llguidance and its masks have it."""
    from llguidance import LLMatcher

    name = constraint.title
    try:
        started_s = time.thread_time()
        grammar = grammar_of(constraint)
        LLMatcher.validate_grammar(grammar)
        if time.thread_time() - started_s > CONVERSION_LIMIT_S:
            return f"the {name} takes too long to compile: it repeats too much"
        reason = LLMatcher(vocabulary.tokenizer, grammar, log_level=0).get_error()
        if not reason and (fault := find_mask_fault(grammar, vocabulary)) is not None:
            return f"the {name} {fault}"
    except MemoryError:
        reason = "it takes too much memory to compile"
    except ValueError as error:
        reason = str(error)
    return f"the {name} cannot be enforced: {' '.join(reason.split())[:300]}" if reason else None


def checked(json_schema: str, text: str) -> Reply:
    """The keyword of a JSON schema that a text violates."""
    try:
        return {"violated": violation(json_schema, text)}
    except Exception as error:
        return {"unchecked": f"the answer cannot be checked: {str(error).splitlines()[0][:200]}"}


def answer(
    replies: TextIO, vocabulary: Vocabulary, asked: list[str], limit_s: float, limit_bytes: int
) -> None:
    """Write the reply from a child process within limits.

    Args:
        asked: the kind and the text of a constraint; or "check", a JSON schema and a text.
    """
    is_check = asked[0] == "check"
    if is_check:
        limit_s = min(limit_s, CHECK_LIMIT_S)
    own_pid = os.getpid()
    if (child := os.fork()) == 0:
        try:
            end_with_parent(own_pid)
            signal.setitimer(signal.ITIMER_PROF, limit_s)  # not of the clock, lest load decides
            present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit(resource.RLIMIT_AS, present + limit_bytes)
            reply = checked(*asked[1:]) if is_check else compiled(vocabulary, Constraint(*asked))  # pyright: ignore[reportArgumentType]
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps(reply), file=replies, flush=True)
            os._exit(0)
        finally:
            os._exit(1)
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        if is_check:
            reply: Reply = {"unchecked": "the answer takes too long to check"}
        elif status == -signal.SIGPROF:
            name = Constraint(*asked).title  # pyright: ignore[reportArgumentType]
            reply = {
                "refusal": f"the {name} takes too long to compile: more than {limit_s:g} s of processor time"
            }
        else:
            name = Constraint(*asked).title  # pyright: ignore[reportArgumentType]
            reply = {"refusal": f"the {name} cannot be enforced: its compiler crashes on it"}
        print(json.dumps(reply), file=replies, flush=True)


def limit(resource_id: int, value: int) -> None:
    with suppress(ValueError):  # there is a stricter limit already
        resource.setrlimit(resource_id, (value, resource.getrlimit(resource_id)[1]))


def main() -> None:
    """Arguments: the checkpoint's folder, its number of ids; processor seconds and bytes of a constraint; the
    server's process id.
    """
    folder, num_ids, limit_s, limit_bytes, server_pid = sys.argv[1:]
    end_with_parent(int(server_pid))
    signal.setitimer(signal.ITIMER_REAL, START_LIMIT_S)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_STACK, STACK_BYTES)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for whatever the libraries print
    about: dict[str, Any] = {"fault": None, "end_ids": []}
    vocabulary = None
    try:
        vocabulary = Vocabulary(Path(folder), int(num_ids))
        about["end_ids"] = [vocabulary.eos_id]
        if not vocabulary.can_spell_json:
            about["fault"] = "the model's vocabulary cannot spell every JSON"
    except ImportError as error:
        about["fault"] = f"an answer can be constrained only with {error.name}"
    except Exception as error:
        about["fault"] = f"the model's tokenizer cannot be constrained: {error}"
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(about), file=replies, flush=True)
    for line in sys.stdin:
        assert vocabulary is not None  # or the server, which knows the fault, would ask nothing
        answer(replies, vocabulary, json.loads(line), float(limit_s), int(limit_bytes))


if __name__ == "__main__":
    main()
