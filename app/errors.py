"""The error tree. Each error has a status code, a stable code, a sentence for a person, and advice."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class FettleError(Exception):
    """Something a person can be told. `code` is stable and machine-readable; `detail` adds named values to the answer."""

    status = 500

    def __init__(self, code: str, message: str, advice: str = "", *, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.advice, self.detail = code, message, advice, dict(detail or {})

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "advice": self.advice, **self.detail}


class Invalid(FettleError):
    """The request cannot be carried out as it was asked."""

    status = 422


class SignInNeeded(FettleError):
    """Nobody is signed in, or the token is not known."""

    status = 401

    def __init__(self, message: str = "Sign in first.", advice: str = "Use your sign-in link or an API token.") -> None:
        super().__init__("sign_in_needed", message, advice)


class Forbidden(FettleError):
    """The person may not do this."""

    status = 403


class Sealed(Forbidden):
    """The rows of a test or reserve split, before somebody opened it on purpose."""

    def __init__(self, split: str = "test") -> None:
        super().__init__(
            "sealed",
            f"The {split} split is sealed: its rows are not shown, so that scores on it stay honest.",
            f"{'Reveal' if split == 'test' else 'Open'} it on purpose, with a reason, on the dataset's page.",
        )


class NotFound(FettleError):
    """No such thing, or not one this person may read."""

    status = 404

    def __init__(self, noun: str, key: object) -> None:
        super().__init__("not_found", f"There is no {noun} {key}.", "Check the address, or go back to the list.")


class Conflict(FettleError):
    """The thing is in a state that does not allow this."""

    status = 409


class TooLarge(FettleError):
    """More bytes than this installation accepts."""

    status = 413


class NoRoom(FettleError):
    """The disk is full. `needed` are the bytes that would have to be free, where that is known."""

    status = 507

    def __init__(self, message: str = "The disk is full; nothing was stored.", then: str = "send it again", needed: int | None = None) -> None:
        super().__init__("disk_full", message, f"Make room on the server (`fettle doctor` says what takes it), then {then}.")
        self.needed = needed


class TooMany(FettleError):
    """Too many attempts in a short time."""

    status = 429


class Unavailable(FettleError):
    """A part of the installation does not answer."""

    status = 503


class Away(Unavailable):
    """A service that the installation stands on does not answer now: the queue service, the object store. Work waits for it; nobody who works is to blame."""


def first_problem(error: "ValidationError") -> tuple[str, str]:
    """(where, what) of the first thing that pydantic found wrong: a field's place such as `scale.low`, of a rule over several fields
    the one that it names, else empty; and its words."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or str(first.get("ctx", {}).get("field", ""))
    return place, str(first["msg"]).removeprefix("Value error, ")
