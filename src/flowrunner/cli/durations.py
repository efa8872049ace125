"""Durations and moments on the command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from flowrunner.domain.duration import parse_duration

# The server reads the rest, and says what is wrong with it.
_DATED: Final = re.compile(r"\d{4}-")


def seconds_of(text: str | None, option: str) -> float | None:
    """Return the seconds of a duration such as `5m`. Raises: click.UsageError."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def moment_of(text: str | None, option: str) -> str | None:
    """Return a moment as the API takes it: `24h` and `-24h` are that long ago. Raises: click.UsageError."""
    if text is None:
        return None
    try:
        ago = timedelta(seconds=parse_duration(text.removeprefix("-")))
    except ValueError:
        if not _DATED.match(text):
            raise click.UsageError(
                f"{option}: '{text}' is no time: write 1h or 7d for that long ago, 2027-01-31, or 2027-01-31T12:00:00Z"
            ) from None
        return text
    return (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
