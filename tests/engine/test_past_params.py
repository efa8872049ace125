"""The parameters of past attempts, evaluated again, compared with what the nodes were given."""

from typing import Any

from flowrunner.domain.events import NodeStarted
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import ExecutionId
from flowrunner.engine.past_params import EnginePastParams
from flowrunner.ports.journal import load_whole
from flowrunner.ports.step_params import PastAttempt, ResolvedParams
from support.dependencies import Machine, answer, secret

from .test_agents import agent, asked, run, says


async def params_of(engine: Machine, step: str) -> ResolvedParams:
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
            others_set_variables=False,
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
