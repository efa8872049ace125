"""Retries of failed steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

# Errors that are retried by default: transient ones, which the request itself does not cause.
# Those of databases: a pooler that has lost its server or has no room, a transaction that another one was in the way
# of, too many connections, a server that restarts.
PASSING_ERRORS: Final = (
    *("timeout", "connection", "http.408", "http.429", "http.5xx", "email.4xx", "email.unavailable"),
    *("sql.08P01", "sql.40001", "sql.40P01", "sql.53300", "sql.57P01", "sql.57P03"),
)
_LONGEST_ASKED_FOR: Final = 86400.0
# Characters of a code of SQL, of which the first two are its class.
_SQLSTATE: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A step's number of retries and the delays between them.

    Attributes:
        max_retries: Attempts after the first.
        first_delay: Seconds before the first retry.
        backoff: Factor by which each delay is longer than the previous one.
        longest_delay: Upper bound of a computed delay, in seconds.
        jitter: Share of each delay, 0 to 1, that is random.
        errors: Error types (`timeout`, `http.503`, `http.5xx`) that are retried.
        max_elapsed: Seconds since the step's first start after which no attempt starts, or None.
    """

    max_retries: int
    first_delay: float = 1.0
    backoff: float = 2.0
    longest_delay: float = 60.0
    jitter: float = 0.2
    errors: tuple[str, ...] = PASSING_ERRORS
    max_elapsed: float | None = None

    def delay_after(
        self, failed_attempts: int, *, draw: float, elapsed: float = 0.0, at_least: float = 0.0
    ) -> float | None:
        """Return the seconds to wait after so many failed attempts, or None if no attempts remain.

        Args:
            failed_attempts: Failed attempts of the step so far, at least 1.
            draw: A uniform sample from [0, 1). It is an argument to keep this function pure.
            elapsed: Seconds since the step's first attempt started.
            at_least: Seconds that the server asked for (`Retry-After`); replaces a shorter delay.

        Raises:
            ValueError: If ``failed_attempts`` is below 1.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, with the
        random share of the delay set by ``jitter`` (1.0 is "full jitter").
        """
        if failed_attempts < 1:
            raise ValueError("failed attempts are counted from 1")
        if failed_attempts > self.max_retries:
            return None
        # The exponent is capped because a large power overflows a float.
        growth = max(self.backoff, 1.0) ** min(failed_attempts - 1, 64)
        full = min(self.longest_delay, self.first_delay * growth)
        wait = max(full * (1.0 - self.jitter * draw), at_least)
        if self.max_elapsed is not None and elapsed + wait > self.max_elapsed:
            return None
        return wait

    def covers(self, error_type: str) -> bool:
        """Return whether an error of this type is retried."""
        return any(matches_error(pattern, error_type) for pattern in self.errors)


def bounded_delay(seconds: object) -> float | None:
    """Return a delay that a node type asks for, at most a day; None if it is no number of seconds."""
    if not isinstance(seconds, int | float) or (isinstance(seconds, float) and math.isnan(seconds)):
        return None
    # Compared before it is converted: a float holds no number of 400 digits.
    return float(min(max(seconds, 0), _LONGEST_ASKED_FOR))


def seconds_asked_for(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a server asks to wait, at most a day; None if it does not say them.

    Args:
        header: Its `Retry-After`: a number of seconds or a date.
    """
    if header is None:
        return None
    if header.isascii() and header.strip().isdigit():
        return min(float(header), _LONGEST_ASKED_FOR)
    # Imported here, because it is slow to import and few answers have a date.
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), _LONGEST_ASKED_FOR)


def matches_error(pattern: str, error_type: str) -> bool:
    """Return whether ``pattern`` names ``error_type``, a group that contains it, or its class of statuses.

    `http` covers every `http.…`; `http.5xx` covers `http.500` to `http.599`, `sql.23xxx` all codes of SQL that begin
    with 23; `*` covers all.
    """
    return pattern == "*" or pattern in error_patterns(error_type)


def error_patterns(error_type: str) -> Sequence[str]:
    """Return the patterns that match ``error_type``, the most specific first.

    >>> error_patterns("http.404")
    ['http.404', 'http.4xx', 'http']
    >>> error_patterns("http.404.gone")
    ['http.404.gone', 'http.404', 'http.4xx', 'http']
    >>> error_patterns("sql.23505")
    ['sql.23505', 'sql.23xxx', 'sql']
    """
    patterns: list[str] = []
    name = error_type
    while name:
        patterns.append(name)
        name, _, last = name.rpartition(".")
        if name and len(last) == 3 and last.isdigit():
            patterns.append(f"{name}.{last[0]}xx")
        elif name == "sql" and len(last) == _SQLSTATE and (last.isupper() or last.isdigit()):
            patterns.append(f"{name}.{last[:2]}xxx")
    return patterns
