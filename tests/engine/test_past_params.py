"""The parameters of past attempts, evaluated again, compared with what the nodes were given."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.events import NodeStarted
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.past_params import CLOCK, VARIABLES, EnginePastParams
from flowrunner.plugin import NodeType
from flowrunner.ports.journal import load_whole
from flowrunner.ports.step_params import PastAttempt, ResolvedParams
from flowrunner.sandbox.pool import JailedSandbox
from support.dependencies import Machine, answer, machine, secret

from .events import of_type
from .test_agents import agent, asked, run, says


async def params_of(engine: Machine, step: str, *, others_set_variables: bool = False) -> ResolvedParams:
    """The parameters of the first attempt of a step."""
    stored, events = await load_whole(engine.journal, ExecutionId("exec-1"))
    places = (place for place, (event, _) in enumerate(events) if isinstance(event, NodeStarted))
    place = next(place for place in places if str(events[place][0].step) == step)  # type: ignore[union-attr] # above
    started, at = events[place]
    assert isinstance(started, NodeStarted)
    return await EnginePastParams(engine.deps).of(
        PastAttempt(
            execution=stored,
            flow=await engine.library.get(stored.workspace_id, stored.revision_id),
            state=replay(events[: place + 1]),
            step=started.step,
            started_at=at,
            error=None,
            has_ended=True,
            others_set_variables=others_set_variables,
        )
    )


async def test_the_parts_of_an_agent_were_given_its_history_and_its_secrets_by_name(engine: Machine) -> None:
    await secret(engine, "KEY", "a-key-of-the-model")
    engine.http.at("http://peer/Rome", answer(body='{"sky": "clear"}'))
    params = '      api_key: "${secrets.KEY}"'
    await run(engine, agent(params), says(None, ("weather", {"town": "Rome"})), says("No."))

    ask, weather = await params_of(engine, "answer.1[2]/ask.1"), await params_of(engine, "answer.1[1]/weather.1")

    given: Any = ask.params
    _, sent = asked(engine.http)
    assert [message["role"] for message in given["messages"]] == [message["role"] for message in sent["messages"]]
    assert given["messages"][2]["content"] == sent["messages"][2]["content"]
    assert given["api_key"] == "${secrets.KEY}"
    assert weather.params == {"url": "http://peer/Rome", "method": "POST", "body": "c1"}
    assert (ask.errors, ask.reasons, weather.errors, weather.reasons) == ([], [], [], [])


MANY: Final = """
vars: {rate: 2}
nodes:
  first: {type: transform, params: {value: {orders: "${flow.input.orders}", id: "${execution.id}"}}, next: each}
  each:
    type: foreach
    params: {items: "${input.orders}", as: order, concurrency: 1}
    nodes:
      choose:
        type: switch
        params: {cases: [{when: "order.n", action: push}]}
        next: {push: push, default: tell}
      push:
        type: transform
        if: order.n
        params: {value: "${index}: ${order.id} ${nodes.choose.action}"}
        hooks: {prep: "return {value: context.value + '!'}"}
        next: tell
      tell: {type: set, params: {rate: "${vars.rate * 2}", last: "${order.id}"}}
    next: both
  both:
    type: parallel
    params: {join: "${flow.input.orders.length}"}
    branches:
      left: {nodes: {a: {type: transform, params: {value: "${vars.rate} ${nodes.each.result.length}"}}}}
      right: {nodes: {b: {type: transform, params: {value: "${vars.last}"}}}}
    next: end
  end: {type: fail, params: {message: "${input.left} and ${nodes.first.result.id}"}, next: {error: sorry}}
  sorry: {type: return, params: {value: "${error.message} at ${error.node}"}}
"""


async def test_every_step_was_given_what_is_evaluated_again(
    path: Path, sandbox: JailedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[JSON] = []
    read = NodeType.read

    def noted(self: NodeType[Any], params: JSON) -> Any:
        given.append(params)
        return read(self, params)

    async with machine(path, sandbox=sandbox) as engine:
        await engine.save(MANY)
        monkeypatch.setattr(NodeType, "read", noted)
        await engine.start(input={"orders": [{"id": "a", "n": 1}, {"id": "b", "n": 0}]})
        await engine.until_ended()
        monkeypatch.undo()
        steps = [str(event.step) for event in of_type(NodeStarted, await engine.events())]
        found = [await params_of(engine, step) for step in steps]

    assert len(steps) == 12
    assert sorted(map(json.dumps, given)) == sorted(json.dumps(one.params) for one in found if one.has_params)
    assert [one.errors for one in found] == [[]] * len(steps)


@pytest.mark.parametrize(
    ("value", "others_set_variables", "reasons"),
    [
        ("${vars.x}", True, [VARIABLES]), ("${vars.x}", False, []), ("${input.a}", True, []),
        ("${secrets.KEY}", True, []),
        ("${Math.random() > 2}", False, [CLOCK]),
        ("${secrets.KEY + input.a}", False, ["An expression computes with secrets.KEY"]),
        ("${secrets.KEY.length} ${vars.x}", True, ["An expression computes with secrets.KEY", VARIABLES]),
    ],
)  # fmt: skip
async def test_the_answer_says_why_the_parameters_may_have_been_others(
    path: Path, sandbox: JailedSandbox, value: str, others_set_variables: bool, reasons: list[str]
) -> None:
    async with machine(path, sandbox=sandbox) as engine:
        await secret(engine, "KEY", "a-key-of-some-server")
        await engine.run(f"vars: {{x: 1}}\nnodes: {{a: {{type: transform, params: {{value: '{value}'}}}}}}", {"a": 1})
        found = await params_of(engine, "a.1", others_set_variables=others_set_variables)

    assert len(found.reasons) == len(reasons)
    assert all(told.startswith(reason) for told, reason in zip(found.reasons, reasons, strict=True))


async def test_an_error_shows_nothing_that_has_become_a_secret_since(path: Path, sandbox: JailedSandbox) -> None:
    text = "nodes: {a: {type: transform, params: {value: '${input.a.missing()}'}}}"
    async with machine(path, sandbox=sandbox) as engine:
        await engine.run(text, {"a": "a-later-secret"})
        before = await params_of(engine, "a.1")
        await secret(engine, "KEY", "a-later-secret")
        after = await params_of(engine, "a.1")

    assert "a-later-secret" in repr(before.errors)
    assert "***" in repr(after.errors)
    assert "a-later-secret" not in repr(after)
