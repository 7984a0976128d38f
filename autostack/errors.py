"""What can go wrong, as a caller should hear of it: a code, a status, a message, details. No HTTP imports here.

One place renders them: `autostack.web.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class AutostackError(Exception):
    """Base of every error that is answered to a caller in its own words."""

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})


class ConfigurationError(AutostackError):
    """A setting is missing or wrong: the process says so in one line and ends."""

    code = "CONFIGURATION_ERROR"


class BadRequest(AutostackError):
    code = "BAD_REQUEST"
    status = 400


class Unauthorized(AutostackError):
    code = "UNAUTHORIZED"
    status = 401


class Forbidden(AutostackError):
    code = "FORBIDDEN"
    status = 403


class NotFound(AutostackError):
    code = "NOT_FOUND"
    status = 404


class Conflict(AutostackError):
    code = "CONFLICT"
    status = 409


class PayloadTooLarge(AutostackError):
    code = "PAYLOAD_TOO_LARGE"
    status = 413


class UnsupportedMediaType(AutostackError):
    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


class Invalid(AutostackError):
    """Input that cannot be accepted. `details` maps each field to what is wrong with it."""

    code = "VALIDATION_ERROR"
    status = 422

    @classmethod
    def field(cls, name: str, problem: str) -> Invalid:
        return cls(problem, {name: problem})


class RateLimited(AutostackError):
    code = "RATE_LIMIT_EXCEEDED"
    status = 429


class Unavailable(AutostackError):
    code = "SERVICE_UNAVAILABLE"
    status = 503
