"""Changes of a workspace's store by steps: once, whatever becomes of the process, and without secrets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Completed, Failed, NodeFailed
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.store import MAX_VALUE_BYTES, StoreChange, StoreKey
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.plugin import StepContext
from flowrunner.ports.store import StepStore
from support.databases import contents_of, rows_of
from support.dependencies import Acting, Machine, machine, secret

from .events import ending, of_type

COUNT: Final = "nodes: {count: {type: store, params: {operation: increment, key: n}%s}}"
VALUES: Final = "SELECT namespace, key, value FROM store_entries ORDER BY namespace, key"


def node(params: str, more: str = "") -> str:
    return f"nodes: {{a: {{type: store, params: {{{params}}}{more}}}}}"


@dataclass
class CuttingStore:
    """A store whose answers to changes do not arrive. Implements `ports.StepStore`."""

    inner: StepStore
    made: list[JSON]
    answers: Sequence[Exception] = ()

    async def value(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> str | None:
        return await self.inner.value(workspace_id, at, now=now)

    async def keys(self, workspace_id: WorkspaceId, **given: Any) -> Sequence[str]:
        return await self.inner.keys(workspace_id, **given)

    async def change(self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime) -> JSON:
        result = await self.inner.change(workspace_id, change, now=now)
        self.made.append(result)
        if len(self.made) <= len(self.answers):
            raise self.answers[len(self.made) - 1]
        if not self.answers:
            await asyncio.Event().wait()
        return result


async def die_after_the_change(path: Path, document: str) -> None:
    made: list[JSON] = []

    async def was_made() -> bool:
        return bool(made)

    async with machine(path) as before:
        before.deps.store = CuttingStore(before.deps.store, made)
        await before.save(document)
        await before.start()
        await before.until(was_made)


async def test_a_change_whose_result_was_not_recorded_is_not_made_again(path: Path) -> None:
    await die_after_the_change(path, COUNT % "")
    async with machine(path) as after:
        # Another execution counts meanwhile.
        assert ending(await after.run(COUNT % "", id="exec-2")).result == 2
        await after.until_ended()
        events = await after.events()

    assert ending(events) == Completed(result=1)
    assert rows_of(path, VALUES) == [("default", "n", "2")]


async def test_a_change_that_must_not_be_repeated_ends_as_interrupted(path: Path) -> None:
    await die_after_the_change(path, COUNT % ", idempotent: false")
    async with machine(path) as after:
        await after.until_ended()

        assert ending(await after.events()).error.type == "interrupted"

    assert rows_of(path, VALUES) == [("default", "n", "1")]


async def test_a_change_whose_answer_is_lost_while_the_process_goes_on_is_made_once(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.engine.dependencies._RETRY_SECONDS", 0.001)
    made: list[JSON] = []
    engine.deps.store = CuttingStore(engine.deps.store, made, [Unavailable("lost"), Unavailable("lost")])

    assert ending(await engine.run(COUNT % "")) == Completed(result=1)
    assert made == [1, 1, 1]


async def test_a_retried_step_gets_the_result_of_its_first_change(engine: Machine) -> None:
    document = COUNT % ", retry: {max: 2, delay: 1ms, errors: [expression]}, output: '${missing.name}'"
    events = await engine.run(document.replace("${missing.name}", "${nodes.count.attempts < 2 ? result.x.y : result}"))

    assert len(of_type(NodeFailed, events)) == 1
    assert ending(events) == Completed(result=1)


async def test_each_visit_element_and_rerun_makes_a_change_of_its_own(engine: Machine) -> None:
    document = """
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3], concurrency: 3}
    nodes: {count: {type: store, params: {operation: increment, key: n}}}
    next: again
  again: {type: store, params: {operation: increment, key: n}, next: more}
  more: {type: switch, params: {cases: [{when: "input < 6", action: again}]}, next: {again: again}}
"""
    assert ending(await engine.run(document)) == Completed(result=6)
    assert ending(await engine.run(document, id="exec-2")) == Completed(result=10)


async def test_many_executions_that_increment_at_the_same_time_lose_nothing(engine: Machine) -> None:
    await engine.save(COUNT % "")
    ids = [f"exec-{n}" for n in range(60)]
    await asyncio.gather(*(engine.start(id=id) for id in ids))
    for id in ids:
        await engine.until_ended(id)

    results = [ending(await engine.events(id)).result for id in ids]
    assert sorted(results) == list(range(1, 61))


async def test_the_operations_have_the_results_that_are_documented(engine: Machine) -> None:
    document = """
nodes:
  none: {type: store, params: {operation: get, key: a}, next: set}
  set: {type: store, params: {operation: set, key: a, value: {x: [1, null]}}, next: set_again}
  set_again: {type: store, params: {operation: set, key: a, value: {x: [1, null]}}, next: get}
  get: {type: store, params: {operation: get, key: a}, next: add}
  add: {type: store, params: {operation: increment, key: b, value: 5}, next: list}
  list: {type: store, params: {operation: list, limit: 1}, next: rest}
  rest: {type: store, params: {operation: list, after: "${input.next}"}, next: other}
  other: {type: store, params: {operation: list, namespace: other}, next: delete}
  delete: {type: store, params: {operation: delete, key: a}, next: delete_again}
  delete_again: {type: store, params: {operation: delete, key: a}, next: done}
  done: {type: return, params: {value: "${Object.keys(nodes).map(name => nodes[name].result).slice(0, 10)}"}}
"""
    assert ending(await engine.run(document)).result == [
        None,
        {"created": True},
        {"created": False},
        {"x": [1, None]},
        5,
        {"keys": ["a"], "next": "a"},
        {"keys": ["b"], "next": None},
        {"keys": [], "next": None},
        {"deleted": True},
        {"deleted": False},
    ]


async def test_executions_that_expect_what_they_have_read_overwrite_nothing(engine: Machine) -> None:
    document = """
nodes:
  read: {type: store, params: {operation: get, key: all}, next: write}
  write:
    type: store
    params:
      operation: set
      key: all
      value: "${[...(nodes.read.result ?? []), execution.id]}"
      expected: "${nodes.read.result}"
    next: {error.store.changed: read}
"""
    await engine.save(document)
    ids = [f"exec-{n}" for n in range(12)]
    await asyncio.gather(*(engine.start(id=id) for id in ids))
    for id in ids:
        await engine.until_ended(id)

    assert sorted(ending(await engine.run(node("operation: get, key: all"), id="exec-last")).result) == sorted(ids)


@pytest.mark.parametrize("operation", ["delete", "set, value: 1"])
async def test_a_secret_in_an_expected_value_is_refused(engine: Machine, operation: str) -> None:
    await secret(engine, "TOKEN", "a-long-secret")
    await secret(engine, "OTHER", "another-long-secret")
    await engine.run(node("operation: set, key: a, value: {t: '${secrets.OTHER}'}"))

    failed = ending(
        await engine.run(node(f"operation: {operation}, key: a, expected: {{t: '${{secrets.TOKEN}}'}}"), id="exec-2")
    )

    assert (failed.error.type, failed.error.message) == (
        "input.invalid", "expected: must not contain a secret, because secrets are not stored"
    )  # fmt: skip
    assert ending(await engine.run(node("operation: get, key: a"), id="exec-3")).result == {"t": "***"}


async def test_a_loop_ends_that_expects_a_value_which_has_become_a_secret(engine: Machine) -> None:
    await engine.run(node("operation: set, key: a, value: {t: a-long-secret}"))
    await secret(engine, "LATER", "a-long-secret")
    document = """
nodes:
  read: {type: store, params: {operation: get, key: a}, next: write}
  write:
    type: store
    params: {operation: set, key: a, value: 1, expected: "${nodes.read.result}"}
    next: {error.store.changed: read}
"""

    failed = ending(await engine.run(document, id="exec-2"))

    assert failed.error.type == "input.invalid"
    assert "contains a secret" in failed.error.message


async def test_a_value_expires_by_the_clock(engine: Machine) -> None:
    await engine.run(node("operation: set, key: a, value: 1, ttl: 1h"))
    assert ending(await engine.run(node("operation: get, key: a"), id="exec-2")).result == 1
    engine.clock.advance(hours=1)

    assert ending(await engine.run(node("operation: get, key: a"), id="exec-3")).result is None


@pytest.mark.parametrize(
    ("params", "type", "said"),
    [
        (
            "operation: set, key: a, value: '${flow.input.long}'",
            "limit.store_value",
            "at most 65536 bytes of JSON, and has",
        ),
        ("operation: get, key: '${flow.input.long}'", "input.invalid", "key"),
        ("operation: get, key: '${\"a\\n\"}'", "input.invalid", "without control characters"),
        ("operation: get, key: '${\"\"}'", "input.invalid", "key"),
        ("operation: get, key: '${null}'", "input.invalid", "needs 'key'"),
        ("operation: get, key: a, namespace: '${\"\\u0085\"}'", "input.invalid", "namespace"),
        ("operation: list, prefix: '${\"\\u0000\"}'", "input.invalid", "prefix"),
        ("operation: list, limit: '${0}'", "input.invalid", "limit"),
        ("operation: list, limit: '${1001}'", "input.invalid", "limit"),
        ("operation: '${\"drop\"}', key: a", "input.invalid", "operation"),
        ("operation: increment, key: a, value: '${\"5\"}'", "input.invalid", "whole number"),
        ("operation: increment, key: a, value: '${1.5}'", "input.invalid", "whole number"),
        ("operation: increment, key: a, value: '${true}'", "input.invalid", "whole number"),
        ("operation: increment, key: a, value: '${2**53}'", "input.invalid", "whole number"),
        ('operation: increment, key: a, value: \'${"$" + "{x}"}\'', "input.invalid", "whole number"),
        ("operation: set, key: a, value: 1, ttl: '${\"soon\"}'", "input.invalid", "not a duration"),
        ("operation: set, key: a, value: 1, ttl: '${\"99999d\"}'", "input.invalid", "ten years"),
        ("operation: set, key: a, value: 1, ttl: '${\"0ms\"}'", "input.invalid", "ttl: must be longer than 0s"),
        ("operation: get, key: '${7}'", "input.invalid", "key: must be text: with text around it, as in 'order ${…}'"),
        ("operation: increment, key: text", "store.not_a_number", "at 'text' is no whole number"),
        ("operation: increment, key: most", "store.out_of_range", "9007199254740991"),
    ],
)
async def test_what_cannot_be_done_fails_with_its_reason_and_changes_nothing(
    engine: Machine, params: str, type: str, said: str
) -> None:
    await engine.run(node("operation: set, key: text, value: '5'"), id="text")
    await engine.run(node(f"operation: set, key: most, value: {2**53 - 1}"), id="most")
    before = rows_of(engine.path, VALUES)

    end = ending(await engine.run(node(params), {"long": "x" * MAX_VALUE_BYTES}))

    assert isinstance(end, Failed)
    assert end.error.type == type
    assert said in end.error.message
    assert rows_of(engine.path, VALUES) == before


async def test_a_value_of_the_greatest_size_is_stored(engine: Machine) -> None:
    document = "nodes: {a: {type: store, params: {operation: set, key: a, value: '${flow.input.v}'}}}"

    assert ending(await engine.run(document, {"v": "x" * (MAX_VALUE_BYTES - 2)})).result == {"created": True}


async def test_s27_a_secret_in_a_value_is_hidden_and_one_in_a_key_is_refused(engine: Machine) -> None:
    await secret(engine, "TOKEN", "a-very-secret-token")
    document = """
nodes:
  keep: {type: store, params: {operation: set, key: a, value: {t: "Bearer ${secrets.TOKEN}"}}, next: read}
  read: {type: store, params: {operation: get, key: a}, next: name}
  name: {type: store, params: {operation: get, key: "by ${secrets.TOKEN}"}}
"""
    events = await engine.run(document)

    assert ending(events).error.type == "input.invalid"
    assert "must not contain a secret" in ending(events).error.message
    assert rows_of(engine.path, VALUES) == [("default", "a", '{"t":"Bearer ***"}')]
    assert isinstance(engine.path, Path)
    assert "a-very-secret-token" not in "\n".join(contents_of(engine.path))


async def test_a_limit_of_the_workspace_is_an_error_of_the_step(path: Path) -> None:
    document = """
nodes:
  a:
    type: store
    params: {operation: set, key: a, value: "${'x'.repeat(60000)}"}
    next: {error.limit.workspace_stored: told}
  told: {type: return, params: {value: "${error.message}"}}
"""
    async with machine(path, limits=WorkspaceLimits(stored=50_000)) as engine:
        assert "may store 50000" in ending(await engine.run(document)).result


# Types of packages


async def test_a_type_may_change_several_entries_each_once(path: Path) -> None:
    made: list[JSON] = []

    async def count(value: JSON, context: StepContext) -> JSON:
        return [
            await context.store.increment("n", 1, namespace="mine", ttl_seconds=None),
            await context.store.increment("n", 1, namespace="mine", ttl_seconds=0.0001),
            await context.store.get("n", namespace="mine"),
        ]

    acting = Acting("counts", count, uses_store=True)
    async with machine(path, types=[acting]) as before:
        before.deps.store = CuttingStore(before.deps.store, made)

        async def was_made() -> bool:
            return bool(made)

        await before.save("nodes: {a: {type: counts}}")
        await before.start()
        await before.until(was_made)
    async with machine(path, types=[acting]) as after:
        await after.until_ended()

        assert ending(await after.events()) == Completed(result=[1, 2, 2])


async def test_a_type_that_does_not_say_so_gets_no_store(path: Path) -> None:
    async def sneak(value: JSON, context: StepContext) -> JSON:
        return await context.store.get("n", namespace="default")

    async with machine(path, types=[Acting("sneaks", sneak)]) as engine:
        assert ending(await engine.run("nodes: {a: {type: sneaks}}")).error.type == "node.crashed"
