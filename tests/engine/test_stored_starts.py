"""The start of a step is stored as what it is, also one that is the same in every execution and is encoded once."""

import pytest

from flowrunner.domain.events import NodeStarted
from flowrunner.engine.recorder import storable_start
from flowrunner.ports.event_codec import decode_event, stored_type

FIRST = NodeStarted(node="fetch", node_type="http.request", iteration=1, attempt=1)


@pytest.mark.parametrize(
    "start",
    [
        FIRST,
        NodeStarted(node="fetch", node_type="transform", iteration=1, attempt=1),
        NodeStarted(node="send", node_type="http.request", iteration=1, attempt=1),
        NodeStarted(node="fetch", node_type="http.request", iteration=2, attempt=1),
        NodeStarted(node="fetch", node_type="http.request", iteration=1, attempt=2),
        NodeStarted(node="fetch", node_type="http.request", iteration=1, attempt=2, interrupted=True),
        NodeStarted(node="fetch", node_type="http.request", iteration=1, attempt=1, scope="each.1[4]"),
    ],
)
def test_a_start_is_stored_as_it_is_after_the_first_start_of_another(start: NodeStarted) -> None:
    storable_start(FIRST)

    event, data = storable_start(start)

    assert event == start
    assert decode_event(stored_type(event), data) == start
