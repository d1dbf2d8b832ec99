"""Every error that reaches a user, in one tree.

    AnytimeError
    ├── InvalidRequest          422  the request cannot be served as written; names the field
    │   └── NotSupported        422  a field of the interface that this version does not serve yet
    ├── BodyTooLarge            413
    ├── HeadersTooLarge         431
    ├── Unauthorized            401  no API key, or one that is not known
    ├── Forbidden               403  the key is known, or none is needed, and still this may not be done
    ├── RateLimited             429  the key's own limits
    ├── UnknownModel            404
    ├── UnknownSession          404
    ├── AlreadyAnswering        409
    ├── SessionCancelled        409  the session was cancelled by its owner
    ├── Unavailable             503  loading, draining or stopped
    │   └── Overloaded          503  too many wait already
    ├── EngineDead              503
    ├── EngineFailed            500  the engine goes on, but not with this request
    ├── WeightSyncFailed        500  new weights did not get into the engine as they are
    ├── EmptyAnswer             500  the model gave nothing that can be shown, several times over
    ├── UnusableModel                refused at start, before anything is served
    └── UnusableOption               the same, of an option of the command line or its file

The dialects turn these into their own bodies; nothing else crosses the HTTP boundary.
"""

from __future__ import annotations


class AnytimeError(Exception):
    """Root of the tree. `code` is stable and meant for programs, `str(error)` for people."""

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
            field: dotted path of the request field at fault, where there is one.
            code, status: where those of the class are too general.
            retry_after_s: seconds after which it may be worth to ask again; None where that is not known.
        """
        super().__init__(message)
        self.field = field
        self.code = code or self.code
        self.status = status or self.status
        self.retry_after_s = retry_after_s


class InvalidRequest(AnytimeError):
    code = "invalid_request"
    status = 422


class NotSupported(InvalidRequest):
    code = "not_supported"


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
