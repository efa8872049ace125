"""Errors between the server and its engine processes: each arrives as what it was, without what cannot be sent."""

import pytest

from flowrunner.dispatch.processes.sent_errors import error_of, sent
from flowrunner.domain.errors import Fault, InvalidFlow, LimitReached, NotFound, RedactionLimit, Unavailable
from flowrunner.domain.store import NotChanged
from flowrunner.plugin import NodeFailure
from flowrunner.ports.journal import Fenced, Unreadable
from flowrunner.ports.secrets import WrongKey
from support.databases import NOON


class DispatchUnavailable(Unavailable):
    """An error of which the other side knows only the base class."""


@pytest.mark.parametrize(
    ("error", "kind", "fields"),
    [
        (Fenced("another engine"), Fenced, {}),
        (Unreadable("of a newer version", newer_since=NOON), Unreadable, {"newer_since": None}),
        (NotFound("revision"), NotFound, {}),
        (InvalidFlow([Fault(path="a", code="c", message="b")]), InvalidFlow, {"faults": ()}),
        (LimitReached("too many", limit="keys", most=7), LimitReached, {"limit": "keys", "most": 7}),
        (RedactionLimit(7), RedactionLimit, {}),
        (NotChanged("store.changed", "it is another"), NotChanged, {"type": "store.changed"}),
        (WrongKey("sealed with another key"), WrongKey, {}),
        (
            NodeFailure("http.503", "busy", data={"a": 1}, retry_after=2.5),
            NodeFailure,
            {"type": "http.503", "message": "busy", "data": None, "retry_after": 2.5},
        ),
        (DispatchUnavailable("an outage"), Unavailable, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_arrives_with_its_message_and_fields(
    error: Exception, kind: type[Exception], fields: dict[str, object]
) -> None:
    arrived = error_of(sent(error, "a traceback"))

    assert (type(arrived), str(arrived)) == (kind, str(error))
    assert {name: getattr(arrived, name) for name in fields} == fields


def test_an_error_that_nobody_distinguishes_arrives_as_an_internal_one_with_its_traceback() -> None:
    arrived = error_of(sent(KeyError("a"), "Traceback: \ud800"))

    assert type(arrived) is RuntimeError
    assert str(arrived).startswith("Traceback: ")
    assert str(arrived).isprintable()
