"""Executions that begin with what another one has done."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.events import Completed, InputEdited, Logged, NodeStarted, Step
from flowrunner.domain.rerun import find_step, kept_before, misfit
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine import engine as engine_module
from flowrunner.engine.recorder import storable_soon
from flowrunner.language import read_flow
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.secrets import LONG_BYTES
from flowrunner.services.reruns import NodeInput, RerunRequest
from support.dependencies import FakeHttp, Machine, SteppingClock, answer, machine, never
from support.flows import specs

from .crashes import ADMIN
from .events import of_type


async def rerun(engine: Machine, from_step: str) -> tuple[Completed, list[str]]:
    """What a rerun of the one execution comes to, and the requests that it made."""
    before = len(engine.http.requests)
    accepted = await engine.reruns.rerun(ADMIN, "exec-1", RerunRequest(from_step=from_step))  # type: ignore[arg-type]
    await engine.until_ended(accepted.id)
    end = (await engine.events(accepted.id))[-1]
    assert isinstance(end, Completed), end
    return end, [request.url for request in engine.http.requests[before:]]


async def test_a_loop_that_is_run_again_keeps_nothing_of_its_elements(engine: Machine) -> None:
    await engine.run(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2]}
            nodes: {push: {type: webhook, params: {url: "http://peer/${item}"}, output: "${item}"}}
        """,
        {},
    )

    end, requests = await rerun(engine, "each")

    assert end.result == [1, 2]
    assert requests == ["http://peer/1", "http://peer/2"]


async def test_one_element_that_is_run_again_leaves_the_others_as_they_are(engine: Machine) -> None:
    await engine.run(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3], concurrency: 2}
            nodes:
              push: {type: webhook, params: {url: "http://peer/${item}"}, next: shape}
              shape: {type: transform, params: {value: "${item}"}}
            next: done
          done: {type: return, params: {value: "${input}"}}
        """,
        {},
    )

    end, requests = await rerun(engine, "each.1[1]/push.1")

    assert end.result == [1, 2, 3]
    assert requests == ["http://peer/2"]


async def test_a_branch_that_lost_does_not_go_on_when_a_later_node_is_run_again(engine: Machine) -> None:
    engine.http.at("http://peer/hangs", never)
    engine.http.at("http://peer/wins", answer())
    await engine.run(
        """
        nodes:
          race:
            type: parallel
            params: {join: any}
            branches:
              loses:
                nodes:
                  begin: {type: webhook, params: {url: "http://peer/begins"}, next: hang}
                  hang: {type: webhook, params: {url: "http://peer/hangs"}}
              wins:
                nodes:
                  rest: {type: delay, params: {duration: 100ms}, next: push}
                  push: {type: webhook, params: {url: "http://peer/wins"}, output: won}
            next: tell
          tell: {type: webhook, params: {url: "http://peer/tell"}, next: done}
          done: {type: return, params: {value: "${nodes.race.result}"}}
        """,
        {},
    )
    assert "http://peer/begins" in [request.url for request in engine.http.requests]

    end, requests = await rerun(engine, "tell")

    assert end.result == {"wins": "won"}
    assert requests == ["http://peer/tell"]


async def test_a_branch_that_was_cancelled_runs_anew_when_its_sibling_is_run_again(engine: Machine) -> None:
    engine.http.at("http://peer/slow", never, answer())
    await engine.run(
        """
        nodes:
          race:
            type: parallel
            params: {join: any}
            branches:
              slow: {nodes: {push: {type: webhook, params: {url: "http://peer/slow"}, output: slow}}}
              fast: {nodes: {push: {type: webhook, params: {url: "http://peer/fast"}, output: fast}}}
        """,
        {},
    )
    engine.http.at("http://peer/fast", never)

    end, requests = await rerun(engine, "race.1[fast]/push.1")

    assert end.result == {"slow": "slow"}
    assert sorted(requests) == ["http://peer/fast", "http://peer/slow"]


async def test_a_branch_that_was_cancelled_after_a_step_goes_on_after_it(engine: Machine) -> None:
    engine.http.at("http://peer/slow", never, answer())
    await engine.run(
        """
        nodes:
          race:
            type: parallel
            params: {join: any}
            branches:
              slow:
                nodes:
                  begin: {type: webhook, params: {url: "http://peer/begin"}, next: push}
                  push: {type: webhook, params: {url: "http://peer/slow"}, output: slow}
              fast:
                nodes:
                  begin: {type: webhook, params: {url: "http://peer/other"}, next: push}
                  push: {type: webhook, params: {url: "http://peer/fast"}, output: fast}
        """,
        {},
    )
    assert "http://peer/slow" in [request.url for request in engine.http.requests]
    engine.http.at("http://peer/fast", never)

    end, requests = await rerun(engine, "race.1[fast]/push.1")

    assert end.result == {"slow": "slow"}
    assert sorted(requests) == ["http://peer/fast", "http://peer/slow"]


async def test_steps_that_are_kept_are_no_steps_of_the_new_execution_s_own(engine: Machine) -> None:
    await engine.run(
        """
        nodes:
          a: {type: webhook, params: {url: "http://peer/a"}, next: b}
          b: {type: webhook, params: {url: "http://peer/b"}}
        """,
        {},
    )
    accepted = await engine.reruns.rerun(ADMIN, "exec-1", RerunRequest(from_step="b"))  # type: ignore[arg-type]
    await engine.until_ended(accepted.id)

    keys = [request.key for request in engine.http.requests]

    assert keys == ["exec-1.a.1", "exec-1.b.1", f"{accepted.id}.b.1"]
    assert [e.node for e in await engine.events(accepted.id) if isinstance(e, NodeStarted)] == ["a", "b"]


async def test_each_attempt_of_a_step_gets_its_edited_input_also_in_another_process(tmp_path: Path) -> None:
    path, clock, http = tmp_path / "flowrunner.db", SteppingClock(), FakeHttp()
    async with machine(path, clock=clock, http=http) as engine:
        await engine.run(
            """
            nodes:
              a: {type: transform, params: {value: 1}, next: b}
              b: {type: webhook, params: {url: "http://peer/${input}"}, retry: {max: 2, delay: 1h}, output: "${input}"}
            """,
            {},
        )
        http.at("http://peer/7", answer(503), answer())
        again = await engine.reruns.rerun(
            ADMIN, ExecutionId("exec-1"), RerunRequest(from_step="b", node_input=NodeInput(7))
        )
        await engine.until_parked(again.id)
    clock.advance(hours=2)
    async with machine(path, clock=clock, http=http) as engine:
        await engine.until_ended(again.id)

        events = await engine.events(again.id)
        [edited] = [event for event in events if isinstance(event, InputEdited)]
        assert (edited.step, edited.input, edited.by) == (Step("b", 1), 7, ADMIN.account_id)
        assert [request.url for request in http.requests] == ["http://peer/1", "http://peer/7", "http://peer/7"]
        assert events[-1] == Completed(result=7)


async def test_an_edited_input_of_the_first_step_of_a_round_is_the_element(engine: Machine) -> None:
    await engine.run(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3]}
            nodes:
              a: {type: transform, params: {value: "${item * 10}"}, next: b}
              b: {type: transform, params: {value: ["${item}", "${input}"]}}
        """,
        {},
    )

    again = await engine.reruns.rerun(
        ADMIN, ExecutionId("exec-1"), RerunRequest(from_step="each.1[1]/a.1", node_input=NodeInput(7))
    )
    await engine.until_ended(again.id)

    assert (await engine.events(again.id))[-1] == Completed(result=[[1, 10], [7, 70], [3, 30]])


async def test_rounds_that_begin_before_the_one_with_an_edited_input_keep_their_own(engine: Machine) -> None:
    engine.http.at("http://peer/1", never, answer())
    engine.http.at("http://peer/2", answer(500))
    engine.http.at("http://peer/7", answer())
    await engine.run(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2], concurrency: 2}
            nodes: {a: {type: webhook, params: {url: "http://peer/${input}"}, output: "${input}"}}
        """,
        {},
    )

    again = await engine.reruns.rerun(
        ADMIN, ExecutionId("exec-1"), RerunRequest(from_step="each.1[1]/a.1", node_input=NodeInput(7))
    )
    await engine.until_ended(again.id)

    assert (await engine.events(again.id))[-1] == Completed(result=[1, 7])


async def test_a_round_that_waited_to_be_tried_again_begins_anew(engine: Machine) -> None:
    engine.http.at("http://peer/1", answer(503), answer())
    engine.http.at("http://peer/2", answer(), answer(404), answer())
    await engine.run(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2], concurrency: 2}
            nodes:
              a: {type: webhook, params: {url: "http://peer/${item}"}, retry: {max: 2, delay: 1h}, next: b}
              b: {type: webhook, params: {url: "http://peer/${item}"}}
        """,
        {},
    )

    again = await engine.reruns.rerun(ADMIN, ExecutionId("exec-1"), RerunRequest(from_step="each.1[1]/b.1"))
    await engine.until_ended(again.id)

    events = await engine.events(again.id)
    begun = [event for event in events if isinstance(event, NodeStarted) and event.scope == "each.1[0]"]
    assert [(event.node, event.attempt) for event in begun] == [("a", 1), ("b", 1)]
    assert isinstance(events[-1], Completed)


async def test_others_go_on_while_what_is_kept_is_searched_for_secrets(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "type: foreach, params: {items: [1, 2, 3, 4, 5, 6, 7, 8]}"
    line = "type: log, params: {message: m, data: '${flow.input}'}"
    await engine.run(
        f"nodes: {{each: {{{lines}, nodes: {{n: {{{line}}}}}, next: b}}, b: {{type: return}}}}", "x" * 20_000
    )
    turn, searched = 0, Counter[int]()

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def watched(*given: Any) -> Any:
        stored = await storable_soon(*given)
        searched[turn] += len(stored.data)
        return stored

    monkeypatch.setattr(engine_module, "storable_soon", watched)
    counting = asyncio.create_task(count_turns())
    await rerun(engine, "b")
    counting.cancel()

    assert sum(searched.values()) > 8 * 20_000
    assert max(searched.values()) < 2 * LONG_BYTES


async def test_a_rerun_keeps_the_answer_to_an_approval_and_begins_its_log_once(engine: Machine) -> None:
    await engine.save(
        """
        nodes:
          ask: {type: approval, params: {prompt: ok?, notify: tell}, next: {approved: push}}
          tell: {type: webhook, params: {url: "http://peer/tell"}}
          push: {type: webhook, params: {url: "http://peer/push"}, output: "${1}"}
        """
    )
    id = await engine.start()
    await engine.until_parked()
    approval: JSON = {"approved": True, "by": "mara", "data": None}
    assert await engine.dispatcher.signal(id, Signal(key="approval:ask.1", payload=approval))
    await engine.until_ended()

    again = (await engine.reruns.rerun(ADMIN, id, RerunRequest(from_step="push"))).id
    await engine.until_ended(again)

    assert [request.url for request in engine.http.requests] == [
        "http://peer/tell",
        "http://peer/push",
        "http://peer/push",
    ]
    assert [line.message for line in of_type(Logged, await engine.events(again))] == [
        "Approved by mara", "Execution started", "Webhook successful", "Execution completed",
    ]  # fmt: skip


async def test_another_revision_can_begin_at_a_node_that_an_approval_has_notified(engine: Machine) -> None:
    document = (
        "nodes: {ask: {type: approval, params: {prompt: ok?, notify: tell}, timeout: 1h},"
        " tell: {type: log, params: {message: asked}}}"
    )
    await engine.save(document)
    await engine.start()
    await engine.until_parked()
    events = [(event, engine.clock.now()) for event in await engine.events()]
    start = find_step(events, "tell")

    assert str(start) == "ask.1[notify.1]/tell.1"
    assert misfit(kept_before(events, start), start, read_flow(document, specs())) is None
    assert misfit((), start, read_flow(document.replace("tell", "say"), specs())) == (
        "it has no node 'tell' in ask.1[notify.1] to start at"
    )


@pytest.mark.parametrize(("start", "elements"), [("each.1[1]/push.1", False), ("each", True)])
async def test_a_loop_that_goes_on_has_its_time_limit_again(engine: Machine, start: str, elements: bool) -> None:
    engine.http.at("http://peer/2", answer(404))
    await engine.run(
        """
        nodes:
          each:
            type: foreach
            timeout: 1h
            params: {items: [1, 2, 3], on_error: continue}
            nodes: {push: {type: webhook, params: {url: "http://peer/${item}"}, output: "${item}"}}
        """,
        {},
    )
    engine.http.at("http://peer/2", answer())
    engine.clock.advance(hours=2)

    again = await engine.reruns.rerun(
        ADMIN, ExecutionId("exec-1"), RerunRequest(from_step=start, failed_elements=elements)
    )
    await engine.until_ended(again.id)

    assert (await engine.events(again.id))[-1] == Completed(result=[1, 2, 3])


async def test_failed_elements_run_again_beside_those_that_are_kept(engine: Machine) -> None:
    for failing in ("http://peer/2", "http://peer/4"):
        engine.http.at(failing, answer(404))
    await engine.run(
        """
        vars: {seen: 0}
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3, 4], concurrency: 2, on_error: collect, collect: "${[item, vars.seen]}"}
            nodes:
              push: {type: webhook, params: {url: "http://peer/${item}"}, next: count}
              count: {type: set, params: {seen: "${vars.seen + 1}"}}
            next: tell
          tell: {type: webhook, params: {url: "http://peer/tell"}, next: done}
          done: {type: return, params: {value: "${[nodes.each.result.map(each => each[0] ?? null), vars.seen]}"}}
        """,
        {},
    )
    assert (await engine.events("exec-1"))[-1] == Completed(result=[[1, None, 3, None], 2])
    before = len(engine.http.requests)
    for failing in ("http://peer/2", "http://peer/4"):
        engine.http.at(failing, answer())

    again = await engine.reruns.rerun(
        ADMIN, ExecutionId("exec-1"), RerunRequest(from_step="each", failed_elements=True)
    )
    await engine.until_ended(again.id)

    assert (await engine.events(again.id))[-1] == Completed(result=[[1, 2, 3, 4], 4])
    requests = [request.url for request in engine.http.requests[before:]]
    assert sorted(requests[:2]) == ["http://peer/2", "http://peer/4"]
    assert requests[2:] == ["http://peer/tell"]


LOOPS = {
    "a while": (
        """
        nodes:
          loop:
            type: while
            params: {when: "index < 3", collect: "${result}"}
            nodes: {push: {type: webhook, params: {url: "http://peer/${index}"}, output: "${index}"}}
        """,
        "http://peer/1",
        [0, 1, 2],
        ["http://peer/1", "http://peer/2"],
    ),
    "a parallel": (
        """
        nodes:
          loop:
            type: parallel
            branches:
              left: {nodes: {l: {type: webhook, params: {url: "http://peer/left"}, output: 1}}}
              right:
                nodes:
                  first: {type: webhook, params: {url: "http://peer/first"}, next: second}
                  second: {type: webhook, params: {url: "http://peer/second"}, output: 2}
        """,
        "http://peer/second",
        {"left": 1, "right": 2},
        ["http://peer/first", "http://peer/second"],
    ),
}


@pytest.mark.parametrize(("definition", "failing", "result", "requests"), LOOPS.values(), ids=LOOPS)
async def test_a_failed_round_or_branch_runs_again_from_its_beginning(
    engine: Machine, definition: str, failing: str, result: JSON, requests: list[str]
) -> None:
    engine.http.at(failing, answer(404))
    await engine.run(definition, {})
    before = len(engine.http.requests)
    engine.http.at(failing, answer())

    again = await engine.reruns.rerun(
        ADMIN, ExecutionId("exec-1"), RerunRequest(from_step="loop", failed_elements=True)
    )
    await engine.until_ended(again.id)

    assert (await engine.events(again.id))[-1] == Completed(result=result)
    assert [request.url for request in engine.http.requests[before:]] == requests
