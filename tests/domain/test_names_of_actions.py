"""Actions whose names begin as those of errors do: they are actions, wherever a name is read."""

import json

import pytest

from flowrunner.language import study_flow
from flowrunner.language.edges import is_of_error
from support.flows import specs

ACTIONS = ("errors", "error_free", "error-1", "erroneous", "Error", "error x", "no.error", "error1.http", "http.error")
ERRORS = ("error", "error.http", "error.http.404", "error.x")


@pytest.mark.parametrize("key", ["action", "default_action"])
@pytest.mark.parametrize(
    ("type", "cases", "when"), [("switch", "cases", "when"), ("condition", "conditions", "condition")]
)
@pytest.mark.parametrize("name", [*ACTIONS, *ERRORS])
def test_a_name_is_that_of_an_error_only_as_a_whole_or_before_a_dot(
    type: str, cases: str, when: str, key: str, name: str
) -> None:
    names = {"action": "one", "default_action": "two", key: name}
    params = {cases: [{when: "true", "action": names["action"]}], "default_action": names["default_action"]}
    node = {"type": type, "params": params, "next": dict.fromkeys(names.values(), "b")}
    document = {"nodes": {"a": node, "b": {"type": "return"}}}

    reading = study_flow(json.dumps(document), specs())

    faults = [fault for fault in reading.faults if not fault.is_warning]
    # The older node type has an action of this name.
    if name in ACTIONS or (type, name) == ("condition", "error"):
        assert reading.flow is not None, faults
        assert reading.flow.nodes["a"].target(name) == "b"
        assert (reading.flow.nodes["a"].error_target("timeout") == "b") == (name == "error")
    else:
        assert any(fault.path.startswith("nodes.a.params.") for fault in faults)


@pytest.mark.parametrize("name", [*ACTIONS, *ERRORS])
def test_an_edge_of_an_action_is_none_of_an_error(name: str) -> None:
    assert is_of_error(name) == (name in ERRORS)


@pytest.mark.parametrize(("action", "warnings"), [("error", []), ("one", ["edge.input"])])
def test_a_node_that_an_action_called_error_leads_to_may_read_its_input(action: str, warnings: list[str]) -> None:
    params = {"conditions": [{"condition": "true", "action": action}], "default_action": "two"}
    decides = {"type": "condition", "params": params, "next": {action: "ends", "error": "reads", "two": "ends"}}
    reads = {"type": "return", "params": {"value": "${input}"}}
    document = {"nodes": {"decides": decides, "reads": reads, "ends": {"type": "return"}}}

    assert [fault.code for fault in study_flow(json.dumps(document), specs()).faults] == warnings
