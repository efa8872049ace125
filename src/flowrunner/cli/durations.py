"""Durations and moments on the command line."""

from datetime import UTC, datetime, timedelta

import click

from flowrunner.domain.duration import parse_duration


def seconds_of(text: str | None, option: str) -> float | None:
    """Return the seconds of a duration such as `5m`. Raises: click.UsageError."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def moment_of(text: str | None) -> str | None:
    """Return a moment as the API takes it: `24h` and `-24h` are that long ago, other text stays as it is."""
    if text is None:
        return None
    try:
        ago = timedelta(seconds=parse_duration(text.removeprefix("-")))
    except ValueError:
        return text
    return (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
