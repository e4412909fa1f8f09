"""How often sign-in may fail: a few times a name from one machine (so that nobody can lock another person out), somewhat more a machine. Counted in this process's memory; a restart forgets."""

from functools import lru_cache

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.errors import TooMany

MINUTES = 5
PER_NAME = RateLimitItemPerMinute(10, MINUTES)
PER_CLIENT = RateLimitItemPerMinute(50, MINUTES)


@lru_cache
def _limiter() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


def check(name: str, client: str) -> None:
    """Raises TooMany while this name or this machine has failed too often."""
    if not (_limiter().test(PER_NAME, "name", name.strip(), client) and _limiter().test(PER_CLIENT, "client", client)):
        raise TooMany("too_many_attempts", "Too many attempts to sign in.", f"Wait {MINUTES} minutes and try again.")


def failed(name: str, client: str) -> None:
    """Remember one failure."""
    _limiter().hit(PER_NAME, "name", name.strip(), client)
    _limiter().hit(PER_CLIENT, "client", client)
