"""One request, from its prompt to its answer: think, cut, answer.

`session` runs the whole; `thinking` and `answering` are its two phases, each one request to
the engine; `forks` are provisional answers while the thinking goes on. Knows nothing of HTTP or of dialects.
"""

from anytime_server.session.request import AnswerRequest, CompiledRequest
from anytime_server.session.session import Session

__all__ = ["AnswerRequest", "CompiledRequest", "Session"]
