"""Turns of callbacks: which one sends next, and how long any of them waits."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.callbacks import CallbackId
from flowrunner.services.waiting_callbacks import AT_ONCE, OF_A_WORKSPACE, WaitingCallbacks


def callbacks(*names: str) -> Sequence[tuple[WorkspaceId, CallbackId]]:
    """Return callbacks such as `a1`, which is one of workspace `a`."""
    return [(WorkspaceId(name[0]), CallbackId(name)) for name in names]


def taken(waiting: WaitingCallbacks, turns: int, *, sending: Counter[WorkspaceId] | None = None) -> list[str]:
    """Return who gets these turns, if each is over before the next."""
    found = [waiting.take(Counter() if sending is None else sending) for _ in range(turns)]
    return [each[1] for each in found if each is not None]


def test_workspaces_take_turns_and_so_do_the_callbacks_of_each() -> None:
    waiting = WaitingCallbacks()
    waiting.update(callbacks("a1", "a2", "a3", "b1", "c1", "c2"))

    assert taken(waiting, 7) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_callback_that_is_always_due_waits_until_all_others_have_had_their_turn() -> None:
    waiting, due = WaitingCallbacks(), callbacks(*(f"{chr(98 + n)}1" for n in range(40)), "a1", "a2")
    order = []
    for _ in range(84):
        waiting.update(due)
        order += taken(waiting, 1)

    assert Counter(order[:41]) == Counter([id for _, id in due if id != "a2"])
    assert order[41:82] == [id if id != "a1" else "a2" for id in order[:41]]


def test_what_is_due_no_more_loses_its_place_and_what_becomes_due_is_the_last() -> None:
    waiting = WaitingCallbacks()
    waiting.update(callbacks("c1", "c2", "d1", "e1"))
    waiting.update(callbacks("a1", "c0", "c2", "e1"))

    assert taken(waiting, 9) == ["c2", "e1", "a1", "c0"]


def test_a_workspace_with_fewer_callbacks_that_send_is_the_next() -> None:
    waiting, sending = WaitingCallbacks(), Counter({WorkspaceId("a"): 2, WorkspaceId("b"): 1})
    waiting.update(callbacks("a1", "b1", "c1"))

    assert taken(waiting, 9, sending=sending) == ["c1", "b1", "a1"]


def test_a_workspace_whose_callbacks_all_send_is_passed_over() -> None:
    waiting, sending = WaitingCallbacks(), Counter({WorkspaceId("a"): OF_A_WORKSPACE})
    waiting.update(callbacks("a1", "b1"))

    assert taken(waiting, 9, sending=sending) == ["b1"]
    assert taken(waiting, 1) == ["a1"]


def test_a_workspace_that_sends_nothing_is_found_behind_all_that_send() -> None:
    names = [chr(ord("A") + n) for n in range(AT_ONCE)]
    waiting, sending = WaitingCallbacks(), Counter({WorkspaceId(name): 1 for name in names[:-1]})
    waiting.update(callbacks(*(f"{name}1" for name in names)))

    assert taken(waiting, 1, sending=sending) == [f"{names[-1]}1"]


NAMES = [f"{workspace}{number}" for number in range(4) for workspace in "abc"]


@given(
    st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=4), st.sets(st.sampled_from(NAMES)), st.booleans()
)
def test_places_are_the_same_whether_what_is_due_is_listed_at_once_or_in_parts(
    listings: list[set[str]], ends: set[str], takes: bool
) -> None:
    """Parts are listed in the order of the ids, each from behind the end of the one before."""
    at_once, in_parts = WaitingCallbacks(), WaitingCallbacks()
    # With a workspace of its own, no callback takes the turn of another one.
    for listing in listings:
        due = [(WorkspaceId("w"), CallbackId(name)) for name in sorted(listing)]
        at_once.update(due)
        after = None
        for until in (*map(CallbackId, sorted(ends)), None):
            part = [each for each in due if (after is None or each[1] > after) and (until is None or each[1] <= until)]
            in_parts.update(part, after=after, until=until)
            after = until
        if takes:
            assert taken(in_parts, 1) == taken(at_once, 1)

    assert taken(in_parts, len(NAMES)) == taken(at_once, len(NAMES))
