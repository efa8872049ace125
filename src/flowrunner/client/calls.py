"""Calls of the API and its lists as values, which the synchronous and the asynchronous client perform alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar

from flowrunner.client.answers import Answer
from flowrunner.client.errors import UnreadableAnswer
from flowrunner.client.model import Model, wire_name
from flowrunner.client.requests import Query, QueryValue, Request, request

T = TypeVar("T")
M = TypeVar("M", bound=Model)
PAGE_SIZE: Final = 100


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


# A value that is not sent, where None is sent as null.
UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """A request, and the type of its answer.

    Attributes:
        seconds: How much longer than usual the server may take.
    """

    request: Request
    decode: Callable[[Answer], T]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[M]):
    """A list of the API, whose pages are requested as they are read.

    Attributes:
        path: The path below `/api/v1`.
        query: The filters.
    """

    path: str
    entry: type[M]
    query: Query

    def page(self, paging: Query) -> "Call[Page[M]]":
        made = request("GET", self.path, query={**self.query, **paging})
        return Call(request=made, decode=lambda answer: Page(answer.object(), self.entry))


class Page(Generic[M]):
    """A page of a list.

    Attributes:
        raw: The page as the server sent it.
    """

    def __init__(self, raw: Mapping[str, Any], entry: type[M]) -> None:
        self.raw = raw
        self.entries = [entry.of(value) for value in entries_of(raw)]

    @property
    def total(self) -> int | None:
        """The number of all entries, if it was asked for."""
        total = self.raw.get("total")
        return total if isinstance(total, int) else None

    @property
    def next(self) -> Mapping[str, str] | None:
        """The parameters for the page that follows; None on the last one."""
        return next_page(self.raw)


def entries_of(page: Mapping[str, Any]) -> list[Any]:
    """Return the entries of a page: the first list in it. Raises: UnreadableAnswer."""
    for value in page.values():
        if isinstance(value, list):
            return value
    raise UnreadableAnswer("The answer is not a list")


def first_page(path: str, limit: int) -> dict[str, QueryValue]:
    """Return the parameters for the first page of a list."""
    # The lists of steps and of approvals begin without a cursor.
    return {"limit": limit} if path.endswith(("/steps", "/approvals")) else {"limit": limit, "cursor": ""}


def following_page(asked: Query, following: Mapping[str, str]) -> Query:
    """Return the query of the page after the one that was asked for. Raises: UnreadableAnswer: It is the same one."""
    query = {**asked, **following}
    if query == asked:
        raise UnreadableAnswer("The list does not go on: its next page is the same one")
    return query


def next_page(page: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the parameters for the page after this one; None after the last."""
    for member, parameter in (("next_cursor", "cursor"), ("next", "after")):
        if isinstance(page.get(member), str):
            return {parameter: page[member]}
    return None


class Performer(Protocol):
    """A client, as groups of operations see it."""

    is_async: bool

    def perform(self, call: Call[Any]) -> Any: ...


def call(
    answer: type[M],
    method: str,
    path: str,
    *,
    query: Query | None = None,
    body: Mapping[str, Any] | None = None,
    exact: Mapping[str, Any] | None = None,
    headers: Mapping[str, str | None] | None = None,
    key: str | bool | None = None,
    wait: int | None = None,
    seconds: float = 0.0,
) -> Call[M]:
    """Return a call whose answer is an object.

    Args:
        body: Its members that are None are left out.
        exact: More members of the body, which are sent also if they are None, unless they are UNCHANGED.
        key: The caller's idempotency key; True for one that is made here.
        wait: Seconds for which the server waits for the end of an execution.
        seconds: How much longer than usual the server may take.
    """
    given = {name: value for name, value in (exact or {}).items() if value is not UNCHANGED}
    json = None if body is None and exact is None else {**members(body or {}), **given}
    return Call(
        request=request(
            method, path, query=query, json=json, idempotency_key=key,
            headers={**(headers or {}), "Prefer": None if wait is None else f"wait={wait}"},
        ),
        decode=lambda found: answer.of(found.object(), etag=found.etag),
        seconds=seconds + (wait or 0),
    )  # fmt: skip


def members(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the members of a body by their names in JSON, without those that are None."""
    return {wire_name(name): value for name, value in body.items() if value is not None}


def listing(path: str, entry: type[M], **query: QueryValue) -> Listing[M]:
    """Return a list with its filters. Those that are None are left out."""
    return Listing(path=path, entry=entry, query=query)
