"""Warnings about mocks that no run of their node can produce."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.flow import DEFAULT_ACTION, NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.error_types import is_misspelt_error, may_fail_with, nearest_error
from flowrunner.language.flow_tests.document import FlowTestDocument, short
from flowrunner.language.legacy import type_of
from flowrunner.language.raw_nodes import params_of
from flowrunner.language.yaml_source import Keys

_STATUSES: Final = range(100, 600)
_SUCCESSES: Final = range(200, 300)


def check_mock(
    written: FlowTestDocument, node: Mapping[str, JSON], node_types: Mapping[str, NodeTypeSpec],
    answer: Mapping[str, JSON], at: Keys,
) -> None:  # fmt: skip
    """Warn about an action, an error or a result that the node never has.

    Args:
        node: The node as written.
        answer: Mock of one run of the node, as written at ``at``.
    """
    spec = node_types.get(str(type_of(node)))
    if spec is None:
        return
    params = params_of(node)
    if isinstance(action := answer.get("action"), str):
        _check_action(written, action, spec, params, (*at, "action"))
    error = answer.get("error")
    type = error.get("type") if isinstance(error, dict) else error
    if isinstance(type, str) and type:
        _check_error(written, type, spec, (*at, "error", "type") if isinstance(error, dict) else (*at, "error"))
    hooks = node.get("hooks")
    if "result" in answer and spec.result_keys and not (isinstance(hooks, dict) and "exec" in hooks):
        _check_answer(written, answer["result"], spec.result_keys, params, (*at, "result"))


def _check_action(
    written: FlowTestDocument, action: str, spec: NodeTypeSpec, params: Mapping[str, JSON], at: Keys
) -> None:
    actions = spec.actions_of(params)
    if actions is None or action in actions or (action == DEFAULT_ACTION and not actions):
        return
    some = ", ".join(sorted(actions)) or "none"
    hint = written.suggestions.did_you_mean(action, actions) or f"its actions: {some}"
    written.warn(at, "mock.action", f"this node never ends with '{short(action)}'", hint)


def _check_error(written: FlowTestDocument, type: str, spec: NodeTypeSpec, at: Keys) -> None:
    if type.endswith("xx") or type in ("http", "connection", "egress"):
        message = f"'{short(type)}' is a family of errors, and a run fails with one of them"
        written.warn(at, "mock.error", message, "such as http.503" if type.startswith("http") else "name one of them")
    elif not may_fail_with(type, spec) or is_misspelt_error(type, spec):
        near = nearest_error(type)
        is_near = near is not None and near.count(".") == type.count(".") and may_fail_with(near, spec)
        hint = f"did you mean '{near}'?" if is_near else None
        written.warn(at, "mock.error", f"a node of type {spec.name} never fails with '{short(type)}'", hint)


def _check_answer(
    written: FlowTestDocument, result: JSON, known: Sequence[str], params: Mapping[str, JSON], at: Keys
) -> None:
    usual = "body" if "body" in known else known[0]
    if not isinstance(result, dict):
        message = f"no server answers like this: the result is a map with {', '.join(known)}"
        written.warn(at, "mock.result", message, f"write result: {{{usual}: …}}")
        return
    for key in result:
        if key not in known:
            hint = written.suggestions.did_you_mean(key, known) or f"put it under '{usual}'"
            message = f"no server answers like this: the result has no '{short(key)}'"
            written.warn((*at, key), "mock.result", message, hint, is_of_key=True)
    if "status_code" not in result or "status_code" not in known:
        return
    status, expected = result["status_code"], params.get("expect_status")
    if isinstance(status, bool) or not isinstance(status, int) or status not in _STATUSES:
        written.warn((*at, "status_code"), "mock.result", "a status is a number from 100 to 599")
    elif expected is None and status not in _SUCCESSES:
        message = f"an answer with the status {status} is an error, and no result"
        written.warn((*at, "status_code"), "mock.result", message, f"write error: http.{status}")
