"""Bounds: what is as long as a bound passes, and what is longer by one does not."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from flowrunner.api.execution_filters import _terms_of
from flowrunner.domain.account import password_faults
from flowrunner.domain.chain_loops import StoredChain, check_counts
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import InvalidFlow, InvalidInput, LimitReached
from flowrunner.domain.labels import checked_labels, labels_of_values, name_fault, value_fault
from flowrunner.domain.second_factor import wait_after
from flowrunner.domain.sign_on import own_path, providers_of
from flowrunner.domain.values import FlowId, NestedTooDeep, left_after
from flowrunner.domain.workspace import workspace_faults
from flowrunner.engine.returned import check_scopes
from flowrunner.language import read_flow
from flowrunner.language.document import is_name
from flowrunner.nodes.condition import _action_of
from flowrunner.nodes.http import bounded
from flowrunner.nodes.texts import _as_within_text
from flowrunner.plugin import NodeFailure, RunScopes
from flowrunner.services.callback_messages import compiled
from flowrunner.services.callback_secrets import shown_address
from flowrunner.services.flow_changes import check_name
from flowrunner.settings import _processes, _token
from support.flows import specs

REFUSED: Final = (ValueError, InvalidFlow, InvalidInput, LimitReached, NodeFailure, NestedTooDeep)


def passes(check: Callable[[], object]) -> bool:
    """Return whether a check raises nothing and does not return false."""
    try:
        return check() is not False
    except REFUSED:
        return False


def text(n: int) -> str:
    return "a" * n


def has_no(code: str, document: str) -> bool:
    """Return whether a document has no fault of this kind."""
    try:
        read_flow(document, specs())
    except InvalidFlow as invalid:
        return code not in {fault.code for fault in invalid.faults}
    return True


def many(form: str, n: int, between: str = ", ") -> str:
    return between.join(form.format(i) for i in range(n))


def trigger(written: str) -> str:
    return f"{NODE}triggers: {{t: {{{written}}}}}"


def nested(n: int) -> Any:
    value: Any = 1
    for _ in range(n):
        value = [value]
    return value


def minutes(n: int) -> str:
    return ",".join(["0" if n % 2 else "00", *["0"] * ((n - 1) // 2)])


CHAIN: Final = StoredChain(flow_id=FlowId("f"), flow_name="f", name="c", source="s")
NODE: Final = "nodes: {a: {type: return}}\n"
STANDARD: Final = "scheme: standard"
LOOP: Final = read_flow("nodes: {a: {type: foreach, params: {items: []}, nodes: {b: {type: return}}}}", specs()).nodes[
    "a"
]
SECRET: Final = "'${{secrets.S{}}}'"
PROVIDER: Final = {"client_id": "c"}
# The most that passes, and the check of something of a size.
MOST: Final[dict[str, tuple[int, Callable[[int], object]]]] = {
    "characters of the name of a label": (63, lambda n: name_fault(text(n)) is None),
    "characters of the value of a label": (200, lambda n: value_fault(text(n)) is None),
    "labels of an execution": (20, lambda n: checked_labels({f"l{i}": "v" for i in range(n)})),
    "characters of a label that a trigger names": (200, lambda n: labels_of_values({"a": text(n)}) != {}),
    "labels that a list is filtered by": (10, lambda n: _terms_of(["a:b"] * n, [], None, "")),
    "labels and inputs that a list is filtered by": (
        10, lambda n: _terms_of(["a:b"] * 4, [("a", "b")] * (n - 4), None, ""),
    ),
    "labels beside a job that a list is filtered by": (
        9, lambda n: _terms_of(["a:b"] * n, [], "job-1", ""),
    ),
    "characters of a password": (
        1024, lambda n: not password_faults("pq7w " * 204 + text(n - 1020), email="e", name="n"),
    ),
    "characters of the name of a workspace": (200, lambda n: not workspace_faults(name=text(n), slug=None)),
    "characters of the slug of a workspace": (63, lambda n: not workspace_faults(name=None, slug=text(n))),
    "characters of the name of a flow": (200, lambda n: check_name(text(n))),
    "characters of the name of a node": (200, lambda n: is_name(text(n))),
    "ends that scopes need": (2, lambda n: check_scopes(LOOP, RunScopes(keys=["0", "1"], inputs=[1, 2], needed=n))),
    "addresses of a callback": (5, lambda n: shown_address("mailto:" + many("a{}@example.com", n, ","), "email")),
    "characters of an action that a script returns": (200, lambda n: _action_of(text(n), "default")),
    "characters of a duration": (500, lambda n: parse_duration("0" * (n - 1) + "s")),
    "days of a duration": (3660, lambda n: parse_duration(f"{n}d")),
    "characters of a path after a login": (2000, lambda n: own_path("/" + text(n - 1)) != "/"),
    "providers of single sign-on": (
        20, lambda n: providers_of({f"p{i}": {**PROVIDER, "issuer": f"https://p{i}.example.com"} for i in range(n)}),
    ),
    "levels of a value": (500, lambda n: left_after(nested(n), 2**40, bounds_levels=True)),
    "chains of a workspace": (
        1000, lambda n: check_counts([CHAIN._replace(source=f"s{i}") for i in range(n)]),
    ),
    "chains of a flow": (100, lambda n: check_counts([CHAIN] * n)),
    "fields of a form": (5000, lambda n: bounded({f"f{i}": "v" for i in range(n)})),
    "values of a field of a form": (5000, lambda n: bounded({"f": ["v"] * n})),
    "characters of a message that is no text": (10_000, lambda n: _as_within_text([text(n - 4)])),
    "bytes of the template of a callback": (16_384, lambda n: compiled(text(n - 2))),
    "processes": (64, lambda n: _processes(str(n))),
    "tags of a document": (50, lambda n: has_no("too_long", f"metadata: {{tags: [{many('t{}', n)}]}}\n{NODE}")),
    "characters of a tag of a document": (100, lambda n: has_no("type", f"metadata: {{tags: [{text(n)}]}}\n{NODE}")),
    "triggers of a flow": (
        100, lambda n: has_no("too_long", f"{NODE}triggers: {{{many('t{}: {{type: schedule, every: 1h}}', n)}}}"),
    ),
    "labels of a trigger": (
        20, lambda n: has_no("too_long", trigger(f"type: schedule, every: 1h, labels: {{{many('l{}: v', n)}}}")),
    ),
    "characters of a cron expression": (
        200, lambda n: has_no("trigger.cron", trigger(f"type: schedule, cron: '{minutes(n - 8)} 0 * * *'")),
    ),
    "secrets of a webhook": (
        2, lambda n: has_no("type", trigger(f"type: webhook, verify: {{{STANDARD}, secret: [{many(SECRET, n)}]}}")),
    ),
    "characters of a script": (
        65_536, lambda n: has_no("too_long", f"nodes: {{a: {{type: transform, params: {{script: '{text(n)}'}}}}}}"),
    ),
    "expressions of a document": (
        10_000, lambda n: has_no("too_large", f"nodes: {{a: {{type: return, params: {{value: '{'${1}' * n}'}}}}}}"),
    ),
}  # fmt: skip
# The least that passes.
LEAST: Final[dict[str, tuple[int, Callable[[int], object]]]] = {
    "characters of a password": (12, lambda n: not password_faults("pq7wzx9rbmkt"[:n], email="e", name="n")),
    "characters of the slug of a workspace": (3, lambda n: not workspace_faults(name=None, slug=text(n))),
    "characters of the token of the metrics": (16, lambda n: _token(text(n))),
    "wrong codes that block an account for good": (100, lambda n: wait_after(n).days > 1000),
    "wrong codes that delay the next one": (5, lambda n: bool(wait_after(n))),
}


def bounds() -> Iterator[Any]:
    for name, (most, check) in MOST.items():
        yield pytest.param(most, most + 1, check, id=f"at most {most} {name}")
    for name, (least, check) in LEAST.items():
        yield pytest.param(least, least - 1, check, id=f"at least {least} {name}")


@pytest.mark.parametrize(("inside", "outside", "check"), list(bounds()))
def test_a_bound_itself_passes_and_what_is_beyond_it_does_not(
    inside: int, outside: int, check: Callable[[int], object]
) -> None:
    assert passes(lambda: check(inside))
    assert not passes(lambda: check(outside))
