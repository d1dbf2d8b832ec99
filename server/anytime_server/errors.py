"""All errors that reach users, in one tree.

    AnytimeError
    ├── InvalidRequest          422  the request cannot be served as written; names the field
    │   ├── NotSupported        422  the field or value is not supported
    │   ├── UnknownPrevious     422  the response to continue is not stored
    │   └── ContextOverflow     422  the prompt, with the least that an answer needs, is over the window
    ├── BodyTooLarge            413
    ├── HeadersTooLarge         431
    ├── Unauthorized            401  the API key is missing or unknown
    ├── Forbidden               403  the API key is disabled or expired, or the host is not trusted
    ├── RateLimited             429  a limit of the API key is reached
    ├── UnknownModel            404
    ├── UnknownSession          404
    ├── UnknownResponse         404  no such response is stored
    ├── UnknownItem             404  no stored response has the item
    ├── UnservedEndpoint        404  an endpoint of another server that is known, but not served
    ├── AlreadyAnswering        409
    ├── SessionCancelled        409  the session was cancelled by its owner
    ├── Unavailable             503  loading, draining or stopped
    │   └── Overloaded          503  the queue is full
    ├── EngineDead              503
    ├── EngineFailed            500  the engine failed on this request and goes on with others
    ├── WeightSyncFailed        500  the engine did not load new weights
    ├── EmptyAnswer             500  the model repeatedly gave an empty answer
    ├── UnusableModel                at start: the model cannot be served
    └── UnusableOption               at start: an option of the command line or its file is invalid

Each dialect maps these to its own response bodies; no other error reaches a client.
"""

from __future__ import annotations

from anytime_server.printable import shortened

MAX_CHARACTERS = 1000
"""Of a message; one may quote what it refuses."""


class AnytimeError(Exception):
    """Root of the tree. Programs read `code`, which is stable; people read `str(error)`."""

    code = "internal_error"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """
        Args:
            field: dotted path of the request field at fault, if there is one.
            code, status: instead of those of the class.
            retry_after_s: seconds after which a retry may succeed; None if unknown.
        """
        super().__init__(shortened(message, MAX_CHARACTERS))
        self.field = field and shortened(field, MAX_CHARACTERS)
        self.code = code or self.code
        self.status = status or self.status
        self.retry_after_s = retry_after_s


class InvalidRequest(AnytimeError):
    code = "invalid_request"
    status = 422


class NotSupported(InvalidRequest):
    code = "not_supported"


class UnknownPrevious(InvalidRequest):
    code = "previous_response_not_found"


class ContextOverflow(InvalidRequest):
    """Clients that recognise it shorten the conversation and try again."""

    code = "context_length_exceeded"

    def __init__(
        self,
        message: str,
        *,
        window_tokens: int,
        prompt_tokens: int,
        answer_tokens: int = 1,
        field: str | None = None,
    ) -> None:
        """
        Args:
            window_tokens: the model's context length.
            prompt_tokens: tokens of the prompt; an estimate where it is much too long to count them.
            answer_tokens: the fewest tokens that are kept for the answer and what is inserted before it.
        """
        super().__init__(message, field=field)
        self.window_tokens = window_tokens
        self.prompt_tokens = prompt_tokens
        self.answer_tokens = answer_tokens


class BodyTooLarge(AnytimeError):
    code = "body_too_large"
    status = 413


class HeadersTooLarge(AnytimeError):
    code = "headers_too_large"
    status = 431


class Unauthorized(AnytimeError):
    code = "invalid_api_key"
    status = 401


class Forbidden(AnytimeError):
    code = "permission_denied"
    status = 403


class RateLimited(AnytimeError):
    code = "rate_limited"
    status = 429


class UnknownModel(AnytimeError):
    code = "unknown_model"
    status = 404


class UnknownSession(AnytimeError):
    code = "unknown_session"
    status = 404


class UnknownResponse(AnytimeError):
    code = "response_not_found"
    status = 404


class UnknownItem(AnytimeError):
    code = "item_not_found"
    status = 404


class UnservedEndpoint(AnytimeError):
    code = "not_supported"
    status = 404


class AlreadyAnswering(AnytimeError):
    code = "already_answering"
    status = 409


class SessionCancelled(AnytimeError):
    code = "cancelled"
    status = 409


class Unavailable(AnytimeError):
    code = "unavailable"
    status = 503


class Overloaded(Unavailable):
    code = "overloaded"


class EngineDead(AnytimeError):
    code = "engine_dead"
    status = 503


class EngineFailed(AnytimeError):
    code = "engine_failed"


class WeightSyncFailed(AnytimeError):
    code = "weight_sync_failed"


class EmptyAnswer(AnytimeError):
    code = "empty_answer"


class UnusableModel(AnytimeError):
    code = "unusable_model"


class UnusableOption(AnytimeError):
    code = "unusable_option"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
