"""The memory that executions hold together: which one ends when it is too much."""

from textwrap import dedent

from flowrunner.domain.events import Completed, Failed
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.engine.held_memory import ExecutionMemory, HeldMemory, MemoryShare
from support.databases import MARA, OMAR
from support.dependencies import Machine, answer, never

from .events import ending

MIB = 1024 * 1024


def shares(held: HeldMemory, workspace_id: WorkspaceId, *sizes: int) -> list[MemoryShare]:
    found = [held.share(workspace_id) for _ in sizes]
    for share, size in zip(found, sizes, strict=True):
        share.count(size * MIB)
    return found


def chosen(shares: list[MemoryShare]) -> list[int]:
    return [share.chosen for share in shares]


def test_the_largest_of_a_workspace_that_holds_too_much_ends() -> None:
    held = HeldMemory(1000 * MIB)
    others = shares(held, OMAR, 450)
    own = shares(held, MARA, 100, 300, 90)
    assert chosen(others + own) == [0, 0, 0, 0]

    own[2].count(101 * MIB)

    assert chosen(others + own) == [0, 0, 1, 0]
    assert "executions of this workspace hold more than 500 MiB" in own[1].excess


def test_the_largest_of_the_workspace_that_holds_most_ends_if_all_hold_too_much() -> None:
    held = HeldMemory(1000 * MIB)
    workspaces = [shares(held, WorkspaceId(f"w{n}"), *sizes) for n, sizes in enumerate([(210, 200), (350,), (240,)])]

    workspaces[2][0].count(251 * MIB)

    assert [chosen(each) for each in workspaces] == [[1, 0], [0], [0]]


def test_handlers_of_an_execution_that_ends_have_memory_of_their_own() -> None:
    held = HeldMemory(200 * MIB)
    large, small = shares(held, MARA, 85, 30)
    assert chosen([large, small]) == [1, 0]

    small.count(75 * MIB)
    assert chosen([large, small]) == [1, 0]
    small.count(84 * MIB)

    # It delays its end no longer, and is counted no more.
    assert chosen([large, small]) == [2, 0]
    small.count(99 * MIB)
    assert chosen([large, small]) == [2, 0]


def test_the_others_of_a_workspace_are_counted_after_one_has_left_memory() -> None:
    held = HeldMemory(200 * MIB)
    large, small, other = shares(held, MARA, 60, 30, 10)
    small.leave()

    other.count(39 * MIB)
    assert chosen([large, small, other]) == [0, 0, 0]
    other.count(41 * MIB)

    assert chosen([large, small, other]) == [1, 0, 0]
    for share in (large, other):
        share.leave()
    assert chosen(shares(held, MARA, 50, 49)) == [0, 0]


def test_what_has_left_memory_is_not_counted() -> None:
    held = HeldMemory(200 * MIB)
    for _ in range(10):
        (share,) = shares(held, MARA, 90)
        assert not share.chosen
        share.leave()
        share.count(90 * MIB)


def test_an_execution_that_was_large_when_it_was_loaded_is_woken_to_end() -> None:
    held = HeldMemory(200 * MIB)
    woken: list[ExecutionMemory] = []
    memory = ExecutionMemory(held, MARA, ExecutionState(held_bytes=90 * MIB))
    memory.on_excess(lambda: woken.append(memory))

    shares(held, MARA, 20)

    assert woken == [memory]


def test_an_execution_that_has_left_memory_is_not_counted_even_while_something_refers_to_it() -> None:
    held = HeldMemory(200 * MIB)
    memory = ExecutionMemory(held, MARA, ExecutionState(held_bytes=90 * MIB))

    memory.leave()

    assert chosen(shares(held, MARA, 20)) == [0]
    assert memory.excess() is None


def test_without_a_limit_nothing_ends() -> None:
    assert chosen(shares(HeldMemory(None), MARA, 10_000, 10_000)) == [0, 0]


HOLDS = dedent("""
    on_finish: tidy
    start: a
    nodes:
      a: {type: transform, params: {script: "return flow.input"}, next: b}
      b: {type: http.request, params: {url: "http://peer/never"}}
      tidy: {type: webhook, params: {url: "http://peer/tidy"}}
""")


async def test_the_largest_execution_ends_before_a_workspace_holds_too_much(engine: Machine) -> None:
    engine.http.at("http://peer/never", never)
    engine.http.at("http://peer/tidy", answer())
    # An empty list takes 80 bytes; each execution holds its input twice.
    engine.deps.held = HeldMemory(2 * 1_500_000)
    await engine.save(HOLDS)
    for number, length in enumerate((6000, 3000, 3000), start=1):
        await engine.start(input=[[]] * length, id=f"exec-{number}")
        await engine.until_requested("http://peer/never", number)

    await engine.until_ended("exec-1")

    assert isinstance(end := ending(await engine.events("exec-1")), Failed)
    assert (end.error.type, end.error.node) == ("limit.memory", "a")
    assert "The executions of this workspace hold more than 1 MiB" in end.error.message
    assert [request.url for request in engine.http.requests].count("http://peer/tidy") == 1
    assert not (await engine.status("exec-2")).is_final
    assert not (await engine.status("exec-3")).is_final


async def test_executions_that_wait_hold_no_memory(engine: Machine) -> None:
    engine.deps.held = HeldMemory(2 * 600_000)
    waits = "type: wait, params: {key: go}"
    await engine.save(HOLDS.replace('type: http.request, params: {url: "http://peer/never"}', waits))
    for number in range(1, 6):
        await engine.start(input=[[]] * 3000, id=f"exec-{number}")
        await engine.until_parked(f"exec-{number}")

    for number in range(1, 6):
        await engine.dispatcher.cancel(ExecutionId(f"exec-{number}"), reason="by hand")
        assert not isinstance(ending(await engine.events(f"exec-{number}")), Failed | Completed)
