"""The headers `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from starlette.types import Scope

from flowrunner.domain.errors import RequestLimit
from flowrunner.services.rates import Remaining

# Key in the ASGI scope: what is left of the allowances from which the request was taken.
RATES: Final = "rates"


def count(scope: Scope, remaining: Remaining | None) -> None:
    """Note what is left of an allowance, so that the answer says it. None is an allowance without a limit."""
    if remaining is not None:
        scope[RATES] = (*scope[RATES], remaining) if RATES in scope else (remaining,)


def rate_headers(rates: Sequence[Remaining]) -> Sequence[tuple[bytes, bytes]]:
    if len(rates) > 1:
        return [header for rate in rates for header in rate_headers((rate,))]
    ((allowed, tokens, seconds),) = rates
    policy, left = _formats(allowed)
    return (b"ratelimit-policy", policy), (b"ratelimit", left % (tokens, seconds))


def exceeded_headers(allowed: RequestLimit, *, retry_after: int) -> dict[str, str]:
    """Return the headers of an answer to a request that exceeds a limit. Args: retry_after: Seconds."""
    policy, left = _formats(allowed)
    return {"RateLimit-Policy": policy.decode(), "RateLimit": (left % (0, retry_after)).decode()}


@lru_cache(maxsize=64)
def _formats(allowed: RequestLimit) -> tuple[bytes, bytes]:
    """Return the policy, and the format of what is left."""
    name = f'"{allowed.limit}"'
    return f"{name};q={allowed.most};w={allowed.seconds}".encode(), f"{name};r=%d;t=%d".encode()
