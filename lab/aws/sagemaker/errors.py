"""The errors that SageMaker answers with, by its own codes."""

from __future__ import annotations


class ServiceError(Exception):
    """An error of the API: a code that clients branch on, and a message for people."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def validation(message: str) -> ServiceError:
    """The request is wrong; sent again it fails again."""
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    """The resource named does not exist; the job operations use ``validation`` for this instead."""
    return ServiceError("ResourceNotFound", message)


def in_use(message: str) -> ServiceError:
    """The name is taken, or something still depends on the resource."""
    return ServiceError("ResourceInUse", message)


def limit_exceeded(message: str) -> ServiceError:
    """The account's service quota does not allow it."""
    return ServiceError("ResourceLimitExceeded", message)


def access_denied(message: str) -> ServiceError:
    """The caller's policies do not allow it."""
    return ServiceError("AccessDeniedException", message)
