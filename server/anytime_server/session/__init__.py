"""One request, from its prompt to its answer: think, truncate, answer. Knows nothing of HTTP or of dialects.

`session` runs the whole; `thinking` and `answer` are its two phases, each an engine request of its own;
`early_answers` are sampled while the thinking goes on.
"""

from anytime_server.session.cost import most_cost
from anytime_server.session.lease import Lease, SlotKind
from anytime_server.session.request import AnswerOptions, CompiledRequest
from anytime_server.session.runtime import Runtime
from anytime_server.session.session import Session, read_sessions

__all__ = [
    "AnswerOptions",
    "CompiledRequest",
    "Lease",
    "Runtime",
    "Session",
    "SlotKind",
    "most_cost",
    "read_sessions",
]
