"""The process that compiles JSON schemas.

Each line of its input is a schema's text as a JSON string. The first line of its output describes the
vocabulary, each further line is the refusal of a schema or null. A child compiles each schema: what ends the
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
from typing import Any, TextIO

from anytime_server.engine.processes import end_with_parent
from anytime_server.engine.structured.faults import find_fault, refusal_of
from anytime_server.engine.structured.masks import find_mask_fault
from anytime_server.engine.structured.schema import with_options
from anytime_server.engine.structured.vocabulary import Vocabulary

START_LIMIT_S = 120
"""For importing the libraries, on a machine that is busy with other things."""
STACK_BYTES = 4 << 20
"""Half of what threads of the engine have: a recursion that would end these ends the child."""
CONVERSION_LIMIT_S = 0.1
"""Processor time of the step that vLLM repeats on the server's event loop for every request."""


def refusal(vocabulary: Vocabulary, json_schema: str) -> str | None:
    """Why tokens cannot be constrained to a schema; None where they can."""
    from llguidance import LLMatcher

    if (fault := find_fault(json_schema)) is not None:
        return fault
    try:
        text, started_s = with_options(json_schema), time.thread_time()
        grammar = LLMatcher.grammar_from_json_schema(text)
        LLMatcher.validate_grammar(grammar)
        if time.thread_time() - started_s > CONVERSION_LIMIT_S:
            return "the JSON schema takes too long to compile: it repeats too much"
        reason = refusal_of(text) or LLMatcher(vocabulary.tokenizer, grammar, log_level=0).get_error()
        if not reason:
            return find_mask_fault(grammar, vocabulary)
    except MemoryError:
        reason = "it takes too much memory to compile"
    return f"the JSON schema cannot be enforced: {reason.splitlines()[0]}"


def answer(
    replies: TextIO, vocabulary: Vocabulary, json_schema: str, limit_s: float, limit_bytes: int
) -> None:
    """Write the refusal of a schema, from a child process within limits."""
    own_pid = os.getpid()
    if (child := os.fork()) == 0:
        try:
            end_with_parent(own_pid)
            signal.setitimer(signal.ITIMER_PROF, limit_s)  # not of the clock, lest load decides
            present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit(resource.RLIMIT_AS, present + limit_bytes)
            reply = refusal(vocabulary, json_schema)
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps(reply), file=replies, flush=True)
            os._exit(0)
        finally:
            os._exit(1)
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        reply = "the JSON schema cannot be enforced: its compiler crashes on it"
        if status == -signal.SIGPROF:
            reply = f"the JSON schema takes too long to compile: more than {limit_s:g} s of processor time"
        print(json.dumps(reply), file=replies, flush=True)


def limit(resource_id: int, value: int) -> None:
    with suppress(ValueError):  # there is a stricter limit already
        resource.setrlimit(resource_id, (value, resource.getrlimit(resource_id)[1]))


def main() -> None:
    """Arguments: the checkpoint's folder, its number of ids; processor seconds and bytes of a schema; the
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
        about["fault"] = f"an answer can be held to a JSON schema only with {error.name}"
    except Exception as error:
        about["fault"] = f"the model's tokenizer cannot be held to a JSON schema: {error}"
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(about), file=replies, flush=True)
    for line in sys.stdin:
        assert vocabulary is not None  # or the server, which knows the fault, would ask nothing
        answer(replies, vocabulary, json.loads(line), float(limit_s), int(limit_bytes))


if __name__ == "__main__":
    main()
