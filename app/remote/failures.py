"""What can go wrong at an endpoint, as sentences for people. What the endpoint itself wrote goes to the log, shortened and without the key."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import httpx2
import openai
import structlog

from app.errors import FettleError
from app.remote.network import Broken
from app.remote.spec import EndpointSpec, RemoteError

log = structlog.get_logger(__name__)

LOGGED = 500
"""Characters of an endpoint's own words that are logged."""

REFUSED = (400, 413, 422)
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_WORD = re.compile(r"[a-z][a-z0-9_]{1,40}")


def unlikely(spec: EndpointSpec, sentence: str = "") -> RemoteError:
    """An answer that is not in the protocol's form."""
    return RemoteError(
        "garbage", sentence or f"{spec.name} answered with something that is not the OpenAI protocol.", "Check the address: it usually ends in /v1."
    )


def late(spec: EndpointSpec) -> RemoteError:
    return RemoteError("timed_out", f"{spec.name} did not finish within {spec.time_out:g} s.", "Ask for fewer tokens, or raise the endpoint's time-out.")


def broken(spec: EndpointSpec) -> RemoteError:
    """An answer that had begun. It may be paid for, so whether to ask again is for whoever asked to say."""
    return RemoteError("broken_off", f"{spec.name} broke its answer off.", "Try again; if it stays so, look at the server.")


@contextmanager
def told(spec: EndpointSpec) -> Iterator[None]:
    """What the SDK raises inside the block leaves it as RemoteError."""
    try:
        yield
    except openai.APIStatusError as error:
        raise _status(spec, error) from error
    except openai.APIError as error:  # connections, and errors inside a stream
        raise _connection(spec, error) from error
    except httpx2.HTTPError as error:
        raise _lost(spec, error) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # JSON that is none, or has another shape
        note(spec, "garbage", repr(error))
        raise unlikely(spec) from error


def note(spec: EndpointSpec, what: str, words: str) -> None:
    """For the administrator's log."""
    clean = words.replace(spec.key, "[key]") if spec.key else words
    log.warning("endpoint failed", endpoint=spec.id, what=what, words=clean[:LOGGED])


def _status(spec: EndpointSpec, error: openai.APIStatusError) -> RemoteError:
    status, name = error.status_code, spec.name
    word = _word(error.code) or _word(error.type)
    note(spec, f"status {status}", str(error.body))
    if 300 <= status < 400:
        return RemoteError(
            "redirected", f"{name} answered {status}: it wants to send the request elsewhere.", "Redirects are not followed; enter the final address."
        )
    if status in (401, 403):
        return RemoteError("key_refused", f"{name} answered {status}: it does not accept the key.", "Enter the key again, or ask whoever runs the endpoint.")
    if status == 404:
        return RemoteError(
            "not_there", f"{name} answered 404: it has no such model or route.", "Test the endpoint: it lists its models. The address usually ends in /v1."
        )
    if word == "insufficient_quota":
        return RemoteError("no_quota", f"{name} says that the account's quota is used up.", "Add credit there, or use another endpoint.")
    if status in AGAIN:
        advice = "It takes no more requests at the moment; try again later." if status == 429 else "Try again; if it stays so, look at the server."
        return RemoteError(
            "endpoint_busy" if status == 429 else "endpoint_failed", f"{name} answered {status}.", advice, again=True, wait=_wait(error.response.headers)
        )
    if word == "context_length_exceeded":
        return RemoteError(
            "prompt_too_long", f"The prompt is longer than this model of {name} takes.", "Use fewer or shorter shots, or a model with a larger window."
        )
    code = "request_refused" if status in REFUSED else "endpoint_failed"
    return RemoteError(code, f"{name} answered {status}{f' ({word})' if word else ''}.", "It may not know a parameter that was set, or refuses this text.")


def _word(value: object) -> str:
    """An error code of the protocol: a word, never a sentence."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _wait(headers: httpx2.Headers) -> float | None:
    """Seconds that the server asks to wait: Retry-After as a number or a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


def _connection(spec: EndpointSpec, error: openai.APIError) -> FettleError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FettleError):
            return cause
        if isinstance(cause, httpx2.HTTPError):
            return _lost(spec, cause)
        if isinstance(cause, ValueError | UnicodeError):
            note(spec, "garbage", repr(cause))
            return unlikely(spec)
        cause = cause.__cause__ or cause.__context__
    note(spec, "error in the stream", f"{error.message} {error.body}")
    word = _word(error.code) or _word(error.type)
    return RemoteError(
        "endpoint_failed", f"{spec.name} reported an error in its answer{f' ({word})' if word else ''}.", "Try again; if it stays so, look at the server."
    )


def _lost(spec: EndpointSpec, error: httpx2.HTTPError) -> RemoteError:
    note(spec, type(error).__name__, str(error))
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        return RemoteError("unreachable", f"{spec.name} cannot be reached.", "Check that the server runs and that its address and port are right.", again=True)
    if isinstance(error, httpx2.TimeoutException):
        return RemoteError("silent", f"{spec.name} went silent.", "Try again; if it stays so, look at the server.")
    if isinstance(error, Broken):
        return broken(spec)
    return RemoteError("broken_off", f"{spec.name} closed the connection before it answered.", "Try again; if it stays so, look at the server.", again=True)
