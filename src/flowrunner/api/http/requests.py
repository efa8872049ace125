"""The base of request bodies, and common query parameters."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import invalid
from flowrunner.domain.whole_numbers import is_whole_number
from flowrunner.ports.page import Page

MAX_LIMIT = 1000
DEFAULT_LIMIT = 10
MAX_CURSOR: Final = 300
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Limit for known and unknown fields. No request accepts more than ten.
_MAX_FIELDS: Final = 100


class Body(BaseModel):
    """The base of request bodies. Unknown fields are faults, and types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _bound_fields(cls, value: Any) -> Any:
        # Creating a fault for each of 80,000 unknown fields would take half a second.
        if isinstance(value, dict) and len(value) > _MAX_FIELDS:
            raise PydanticCustomError(
                "too_many_fields",
                "The body has {count} fields, and the request takes these: {known}",
                {
                    "count": len(value),
                    "known": ", ".join(field.alias or name for name, field in cls.model_fields.items()),
                },
            )
        return value


def at_most(most: int) -> BeforeValidator:
    """Return the validator that rejects a map with too many entries before it looks at each of them.

    A fault for each would take half a second.
    """

    def bounded(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > most:
            context = {"field_type": "Dictionary", "max_length": most, "actual_length": len(value)}
            raise PydanticKnownError("too_long", context)
        return value

    return BeforeValidator(bounded)


def life_of(text: str | None) -> timedelta | None:
    """Return the duration in `expires_in`; None without one. Raises: InvalidInput."""
    if text is None:
        return None
    try:
        return timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise invalid("expires_in", str(error)) from None


# Read by `is_dry_run`: a parameter of the framework's would cost every request of the route its short way.
DRY_RUN: Final = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "description": "`true` answers what the request would do, with all of its checks, and changes nothing.",
    "schema": {"type": "boolean", "default": False},
}


def is_dry_run(request: Request) -> bool:
    """Raises: InvalidInput."""
    match request.query_params.get("dry_run"):
        case None | "false":
            return False
        case "true":
            return True
    raise invalid("dry_run", "must be true or false", code="bool_parsing")


def _check_digits(value: Any) -> Any:
    if isinstance(value, str) and not is_whole_number(value):
        raise PydanticKnownError("int_parsing")
    return value


def _check_words(value: Any) -> Any:
    if isinstance(value, str) and value not in ("true", "false"):
        raise PydanticKnownError("bool_parsing")
    return value


# The check of whole numbers in queries and paths; the framework alone would read `1_0`, ` 5` and `5.0` as numbers, too.
# It stands behind the bounds, because the schema of a type that has a function shows none.
DIGITS: Final = BeforeValidator(_check_digits)
# The framework alone would read `yes`, `on`, `1` and `True`, too.
TRUE_OR_FALSE: Final = BeforeValidator(_check_words)
Limit: TypeAlias = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="The maximum number of entries to return."), DIGITS
]
Offset: TypeAlias = Annotated[int, Query(ge=0, le=2**53, description="The number of entries to skip."), DIGITS]
Cursor: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR,
        description="The `next_cursor` of the page before; empty for the first page. Unlike an `offset`, it skips and "
        "repeats nothing when entries are added.",
    ),
]
Count: TypeAlias = Annotated[bool, Query(description="With `cursor`: return the `total` too."), TRUE_OR_FALSE]
Since: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=40,
        description="Only from then on: a moment or day (RFC 3339; a day begins in UTC), or `-24h`, that long ago.",
    ),
]
Until: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=40,
        description="Only before then: a moment or day (RFC 3339; a day begins in UTC), or `-24h`, that long ago.",
    ),
]


def page_of(
    limit: int, offset: int, cursor: str | None = None, *, count: bool = False, is_reversed: bool = False
) -> Page:
    """Raises: InvalidInput."""
    if cursor is not None and offset:
        raise invalid("offset", "cannot be combined with cursor")
    return Page(limit=limit, offset=offset, cursor=cursor, counts=count or cursor is None, is_reversed=is_reversed)


async def _page(limit: Limit = DEFAULT_LIMIT, offset: Offset = 0, cursor: Cursor = None, count: Count = False) -> Page:
    return page_of(limit, offset, cursor, count=count)


async def _long_page(limit: Limit = MAX_LIMIT, offset: Offset = 0, cursor: Cursor = None, count: Count = False) -> Page:
    return page_of(limit, offset, cursor, count=count)


# The page that the query parameters of a list ask for; and of a short list, which clients want whole.
Paging: TypeAlias = Annotated[Page, Depends(_page)]
LongPaging: TypeAlias = Annotated[Page, Depends(_long_page)]


def text_filter(description: str | None = None) -> Any:
    """Return the parameter of a filter. An empty one is rejected: stores take it for none, and would select all."""
    return Query(min_length=1, max_length=200, description=description)


def day_or_moment_of(name: str, text: str) -> date:
    """Return a day as such, whose beginning depends on a time zone, or a moment. Raises: InvalidInput."""
    moment = moment_of(name, text)
    assert moment is not None, "there is a text"
    return moment.date() if _DAY.fullmatch(text) else moment


def moment_of(name: str, text: str | None, *, now: datetime | None = None) -> datetime | None:
    """Return the moment, or the beginning of the day, that a query parameter names. Raises: InvalidInput.

    Args:
        now: Also accepts a duration before this moment, as `-24h`.
    """
    if text is None:
        return None
    if now is not None and text.startswith("-"):
        try:
            return now - timedelta(seconds=parse_duration(text[1:]))
        except ValueError:
            raise invalid(name, "must be a duration such as -24h or -7d, a moment, or a day") from None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = "must be a moment such as 2027-01-31T12:00:00Z, or a day such as 2027-01-31"
        raise invalid(name, message, hint="write + as %2B in an address" if " " in text else None) from None
    if _DAY.fullmatch(text):
        at = at.replace(tzinfo=UTC)
    if at.tzinfo is None:
        raise invalid(name, "has no time zone: write Z behind it for UTC, as in 2027-01-31T12:00:00Z")
    # Near the ends of the range that Python supports, time zones cannot be converted.
    if not 1970 <= at.year < 9000:
        raise invalid(name, "must be in a year from 1970 to 8999")
    return max(at.astimezone(UTC), _FIRST)
