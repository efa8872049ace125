"""Agents: each question and each call of a tool is a step, which no crash repeats once it is recorded."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.events import Completed, Logged, NodeCompleted, NodeFailed, NodeStarted, ScopesOpened
from flowrunner.domain.status import Status
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.engine.trial import EngineTrials
from flowrunner.nodes.agent import Agent
from flowrunner.plugin import HttpAnswer, RunScopes, ScopesEnded
from flowrunner.ports.node_trials import TrialContext
from flowrunner.services.reruns import RerunRequest
from services.callers import caller_of
from support.contexts import PlainContext
from support.databases import MARA, MARA_ACCOUNT, rows_of
from support.dependencies import Answer, FakeHttp, Machine, Request, answer, machine, never, secret
from support.flows import flow_of

from .events import ending, of_type, path_of

MODEL: Final = "http://model/v1/chat/completions"
AGENT: Final = """
inputs: {question: {type: string}}
nodes:
  answer:
    type: agent
    params:
      base_url: http://model/v1
      model: m
      prompt: "${flow.input.question}"
      max_turns: 4
%s
      tools:
        - name: weather
          description: The weather of a town
          parameters: {type: object, properties: {town: {type: string}}, required: [town], additionalProperties: false}
          http.request: {url: "http://peer/${call.arguments.town}", method: POST, body: "${call.id}"}
%s
"""
FLOW: Final = """
metadata: {description: Finds an order}
inputs: {id: {type: integer}, customer: {type: string}}
nodes: {find: {type: return, params: {value: {id: "${flow.input.id}", customer: "${flow.input.customer}"}}}}
"""
QUESTION: Final = {"question": "Do I need an umbrella?"}


def agent(params: str = "", more: str = "") -> str:
    return AGENT % (params, more)


def says(content: str | None = None, *calls: tuple[str, Any], **more: Any) -> HttpAnswer:
    """An answer of the model: text, and calls of tools."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{place}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for place, (name, arguments) in enumerate(calls, 1)
        ]
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return answer(body=json.dumps({"model": "m-1", "choices": [{"message": message}], "usage": usage, **more}))


def asked(http: FakeHttp) -> list[Any]:
    """The bodies of the questions to the model."""
    return [json.loads(request.body or b"") for request in http.requests if request.url == MODEL]


def urls(http: FakeHttp) -> list[str]:
    return [request.url for request in http.requests]


async def run(engine: Machine, document: str, *answers: Answer, id: str = "exec-1") -> list[Any]:
    engine.http.at(MODEL, *answers)
    return await engine.run(document, QUESTION, id=id)


async def test_a_model_calls_a_tool_and_answers(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(body='{"sky": "clear"}'))
    events = await run(engine, agent(), says(None, ("weather", {"town": "Rome"})), says("No."))

    assert ending(events) == Completed(
        result={
            "content": "No.",
            "structured": None,
            "finish_reason": "stop",
            "turns": 2,
            "steps": [{"turn": 1, "tool": "weather", "arguments": {"town": "Rome"}, "error": None}],
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "name": "weather", "arguments": {"town": "Rome"}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": '{"sky":"clear"}'},
                {"role": "assistant", "content": "No."},
            ],
            "usage": {"input_tokens": 20, "output_tokens": 4},
            "model": "m-1",
        }
    )
    first, second = asked(engine.http)
    assert first["messages"] == [{"role": "user", "content": "Do I need an umbrella?"}]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["weather"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][2] == {"role": "tool", "content": '{"sky":"clear"}', "tool_call_id": "c1"}
    steps = [str(event.step) for event in of_type(NodeStarted, events)]
    assert steps == ["answer.1", "answer.1[0]/ask.1", "answer.1[1]/weather.1", "answer.1[2]/ask.1"]


async def test_a_prompt_without_expressions_is_asked_with_the_tools_and_what_they_returned(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(body='"clear"'))
    document = agent().replace('"${flow.input.question}"', "Do I need an umbrella in Rome?")
    await run(engine, document, says(None, ("weather", {"town": "Rome"})), says("No."))

    first, second = asked(engine.http)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["weather"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]


async def test_the_use_of_a_model_that_counts_no_tokens_is_unknown(engine: Machine) -> None:
    events = await run(engine, agent(), says("No.", usage={}))

    assert ending(events).result["usage"] == {"input_tokens": None, "output_tokens": None}


async def test_what_each_turn_adds_is_stored_once_until_the_end(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(body=json.dumps("a-long-result" * 100)))
    calls = [says(f"thought-{n}-" * 50, ("weather", {"town": "Rome"})) for n in range(3)]
    events = await run(engine, agent() + "    output: ${result.content}\n", *calls, says("No."))

    stored = "".join(data for (data,) in rows_of(engine.path, "SELECT data FROM events"))
    assert ending(events).result == "No."
    assert stored.count("a-long-result" * 100) == 3
    assert [stored.count(f"thought-{n}-" * 50) for n in range(3)] == [1, 1, 1]


async def test_a_flow_is_a_tool_with_its_inputs_as_arguments_and_fixed_ones_are_hidden(engine: Machine) -> None:
    await engine.save(FLOW, "find-order")
    tool = '        - {flow: find-order, input: {customer: "${flow.input.question}"}}'
    events = await run(engine, agent("", tool), says(None, ("find-order", {"id": 7})), says("It was sent."))

    given = asked(engine.http)[0]["tools"][1]["function"]
    assert given == {
        "name": "find-order",
        "description": "Finds an order",
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "integer"}},
            "required": ["id"],
            "additionalProperties": False,
        },
    }
    told = asked(engine.http)[1]["messages"][2]["content"]
    assert json.loads(told) == {"id": 7, "customer": "Do I need an umbrella?"}
    assert ending(events).result["content"] == "It was sent."
    assert rows_of(engine.path, "SELECT parent_id FROM executions WHERE id <> 'exec-1'") == [("exec-1",)]


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("weather", {"town": 7}, "The arguments do not fit their schema: town: "),
        ("weather", {"town": "Rome", "url": "http://evil"}, "The arguments do not fit their schema: "),
        ("weather", {}, "The arguments do not fit their schema: town: "),
        ("weather", "Rome", "The arguments are no JSON object"),
        ("delete_all", {}, "There is no tool 'delete_all'. The tools are: weather"),
        ("ask", {}, "There is no tool 'ask'. The tools are: weather"),
        ("rejected", {}, "There is no tool 'rejected'. The tools are: weather"),
    ],
)
async def test_a_call_that_the_author_did_not_allow_runs_nothing_and_is_told(
    engine: Machine, name: str, arguments: Any, fault: str
) -> None:
    document = agent("      on_tool_error: fail")
    events = await run(engine, document, says(None, (name, arguments)), says("Sorry."))

    assert path_of(events) == ["answer", "ask", "rejected", "ask"]
    assert urls(engine.http) == [MODEL, MODEL]
    told = json.loads(asked(engine.http)[1]["messages"][2]["content"])["error"]
    assert (told["type"], told["message"].startswith(fault)) == ("input.invalid", True), told
    assert ending(events).result["content"] == "Sorry."
    assert [line for line in of_type(Logged, events) if line.level == "warn"]


@pytest.mark.parametrize(
    ("town", "sent"),
    [
        ("Rome", "http://peer/v1/Rome/now?of=Rome"),
        ("a/b", "http://peer/v1/a%2Fb/now?of=a/b"),
        ("a?b#c&d", "http://peer/v1/a%3Fb%23c&d/now?of=a?b%23c%26d"),
        ("http://evil/", "http://peer/v1/http:%2F%2Fevil%2F/now?of=http://evil/"),
        ("@evil", "http://peer/v1/%40evil/now?of=@evil"),
        ("a\\b c+d\n", "http://peer/v1/a%5Cb%20c+d%0A/now?of=a\\b%20c%2Bd%0A"),
        ("..", None),
        (".", None),
        ("", None),
        ("%2e%2E", None),
        ("../../admin", None),
        ("a/..", None),
        ("..%2fadmin", None),
        ("..\\admin", None),
        ("x" * 9000, None),
    ],
)
async def test_an_argument_stays_within_its_part_of_the_url(engine: Machine, town: str, sent: str | None) -> None:
    url = "http://peer/v1/${call.arguments.town}/now?of=${call.arguments.town.concat('')}"
    document = agent().replace("http://peer/${call.arguments.town}", url)
    await run(engine, document, says(None, ("weather", {"town": town})), says("Done."))

    assert [url for url in urls(engine.http) if url != MODEL] == ([] if sent is None else [sent])
    if sent is None:
        told = json.loads(asked(engine.http)[1]["messages"][2]["content"])["error"]
        assert (told["type"], "${call.arguments.town" in told["message"]) == ("input.invalid", True)


async def test_a_name_that_no_tool_can_have_is_not_sent_back_to_the_model(engine: Machine) -> None:
    await run(engine, agent(), says(None, ("weather now!", {})), says("Sorry."))

    assistant = asked(engine.http)[1]["messages"][1]
    assert [call["function"]["name"] for call in assistant["tool_calls"]] == ["unknown"]


async def test_calls_with_the_same_id_or_none_are_told_apart(engine: Machine) -> None:
    for town in ("Rome", "Oslo", "Bern", "Graz"):
        engine.http.at(f"http://peer/{town}", answer(body=f'"{town}"'))

    def without_ids(*towns: str, id: str | None) -> HttpAnswer:
        calls = [{"id": id, "function": {"name": "weather", "arguments": {"town": town}}} for town in towns]
        return answer(body=json.dumps({"choices": [{"message": {"tool_calls": calls}}]}))

    turns = [without_ids("Rome", "Oslo", id=None), without_ids("Bern", "Graz", id="c1"), says("Done.")]
    await run(engine, agent(), *turns)

    messages = asked(engine.http)[2]["messages"]
    ids = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert len(set(ids)) == 4
    told = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
    assert [told[id] for id in ids] == ["Rome", "Oslo", "Bern", "Graz"]


async def test_prompts_answers_and_arguments_of_200_kb_reach_the_end(engine: Machine) -> None:
    long = "\u00e9" * 100_000
    await engine.save(FLOW.replace("id: {type: integer}", "id: {type: string}"), "find-order")
    tool = "        - {flow: find-order, input: {customer: c}, output: '${result.id.length}'}"
    turns = [says(long, ("find-order", {"id": long})), says(long)]
    engine.http.at(MODEL, *turns)
    events = await engine.run(agent("", tool), {"question": long})

    second = asked(engine.http)[1]["messages"]
    assert [second[0]["content"], second[1]["content"], second[2]["content"]] == [long, long, "100000"]
    assert json.loads(second[1]["tool_calls"][0]["function"]["arguments"]) == {"id": long}
    result = ending(events).result
    assert (result["content"], result["finish_reason"], result["turns"]) == (long, "stop", 2)


async def test_a_question_is_asked_again_when_the_server_says(engine: Machine) -> None:
    document = agent() + "    retry: {max: 1, delay: 1ms}\n"
    await engine.save(document)
    engine.http.at(MODEL, answer(429, '{"error": {"message": "slow down"}}', retry_after="120"), says("Yes."))
    begun = engine.clock.now()
    await engine.start(input=QUESTION)
    await engine.until_failed()

    (failed,) = of_type(NodeFailed, await engine.events())
    assert (failed.error.type, "slow down" in failed.error.message) == ("http.429", True)
    assert failed.retry_at is not None
    assert failed.retry_at >= begun + timedelta(seconds=120)


async def test_the_error_of_a_tool_is_told_in_later_turns_too(engine: Machine) -> None:
    engine.http.at("http://peer/Oslo", answer(404))
    calls = [says(None, ("weather", {"town": town})) for town in ("Oslo", "Rome")]
    events = await run(engine, agent(), *calls, says("No."))

    third = asked(engine.http)[2]["messages"]
    assert [message["role"] for message in third] == ["user", "assistant", "tool", "assistant", "tool"]
    assert json.loads(third[2]["content"])["error"]["type"] == "http.404"
    errors = [step["error"] and step["error"]["type"] for step in ending(events).result["steps"]]
    assert errors == ["http.404", None]


async def test_the_error_of_a_tool_is_told_without_what_is_secret(engine: Machine) -> None:
    await secret(engine, "TOKEN", "very-secret-token")
    engine.http.at("http://peer/Rome", answer(422, '{"detail": "very-secret-token is not known"}'))
    document = agent().replace('body: "${call.id}"', 'auth: {token: "${secrets.TOKEN}"}')
    events = await run(engine, document, says(None, ("weather", {"town": "Rome"})), says("I do not know."))

    told = json.loads(asked(engine.http)[1]["messages"][2]["content"])
    assert told["error"]["type"] == "http.422"
    assert set(told["error"]) == {"type", "message", "body"}
    assert "very-secret-token" not in json.dumps(asked(engine.http))
    assert "is not known" in json.dumps(told)
    assert ending(events).result["steps"][0]["error"]["type"] == "http.422"


async def test_the_error_of_a_tool_fails_the_agent_if_it_shall(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(404))
    events = await run(engine, agent("      on_tool_error: fail"), says(None, ("weather", {"town": "Rome"})))

    assert (ending(events).error.type, ending(events).error.node) == ("http.404", "answer")
    assert urls(engine.http) == [MODEL, "http://peer/Rome"]


async def test_an_agent_that_calls_itself_fails_and_no_depth_asks_again(engine: Machine) -> None:
    document = agent("", "        - {flow: endless, input: {question: again}}")
    await engine.save(document, "endless")
    calls = says(None, ("endless", {}), ("endless", {}))
    events = await run(engine, document, *[calls] * 200)

    assert ending(events).error.type == "flow.recursion"
    # Each agent asks once, and the second call of a turn is as deep as the first.
    assert len(asked(engine.http)) == len(rows_of(engine.path, "SELECT id FROM executions"))


async def test_an_agent_that_does_not_answer_fails_with_what_it_did(engine: Machine) -> None:
    document = (
        agent() + "    next: {error.agent.turns: late}\n  late: {type: return, params: {value: '${error.data}'}}\n"
    )
    events = await run(engine, document, says("Hm.", ("weather", {"town": "Rome"})))

    result = ending(events).result
    assert (result["turns"], result["content"], result["usage"]["input_tokens"]) == (4, "Hm.", 40)
    # The calls of the last answer would lead to nothing.
    assert [step["turn"] for step in result["steps"]] == [1, 2, 3]
    assert urls(engine.http).count("http://peer/Rome") == 3


async def test_what_does_not_fit_into_the_error_is_left_out_of_it(engine: Machine) -> None:
    handler = "    next: {error.agent.turns: late}\n  late: {type: return, params: {value: '${error.data}'}}\n"
    town = "x" * 100_000
    engine.http.at(f"http://peer/{town}", answer(body="{}"))

    events = await run(engine, agent() + handler, says("Hm.", ("weather", {"town": town})))

    result = ending(events).result
    assert (result["turns"], result["content"], result["usage"]["input_tokens"]) == (4, "Hm.", 40)
    assert [(step["turn"], step["tool"], step["arguments"]) for step in result["steps"]] == [
        (turn, "weather", None) for turn in (1, 2, 3)
    ]

    engine.http.at(MODEL, says("y" * 240_000, *[("other", {})] * 32))
    found = ending(await engine.run(agent() + handler, QUESTION, id="exec-2")).result
    assert (found["turns"], found["content"], found["steps"]) == (4, "y" * 240_000, None)


async def test_calls_of_one_answer_run_side_by_side_or_in_order(engine: Machine) -> None:
    towns = [("weather", {"town": town}) for town in ("A", "B", "C")]
    both = asyncio.Barrier(2)

    async def meet(request: Request) -> HttpAnswer:
        await both.wait()
        return answer(body=json.dumps(request.url))

    engine.http.at("http://peer/A", meet)
    engine.http.at("http://peer/B", meet)
    await run(engine, agent("      concurrency: 2"), says(None, *towns), says("Done."))
    contents = [message["content"] for message in asked(engine.http)[1]["messages"][2:]]
    assert contents == ["http://peer/A", "http://peer/B", "{}"]

    for town in "AB":
        engine.http.at(f"http://peer/{town}", answer())
    engine.http.requests.clear()
    await run(engine, agent("      concurrency: 1"), says(None, *towns), says("Done."), id="exec-2")
    assert urls(engine.http)[1:4] == ["http://peer/A", "http://peer/B", "http://peer/C"]


async def test_an_error_of_the_model_is_that_of_the_agent_and_is_retried_as_its_retry_says(engine: Machine) -> None:
    document = agent() + "    retry: {max: 1, delay: 1ms}\n"
    events = await run(engine, document, answer(503), says("Yes."))
    assert ending(events).result["content"] == "Yes."
    assert [event.node for event in of_type(NodeFailed, events)] == ["ask"]

    events = await run(engine, document, answer(401), id="exec-2")
    assert (ending(events).error.type, ending(events).error.node) == ("http.401", "ask")


async def test_too_many_calls_too_long_results_and_too_long_conversations_are_bounded(engine: Machine) -> None:
    many = [("weather", {"town": "Rome"})] * 33
    assert ending(await run(engine, agent(), says(None, *many))).error.type == "agent.calls"

    engine.http.at("http://peer/Rome", answer(body=json.dumps("x" * 60_000)))
    await run(engine, agent(), says(None, ("weather", {"town": "Rome"})), says("Long."), id="exec-2")
    told = asked(engine.http)[-1]["messages"][2]["content"]
    assert told.startswith("x" * 50_000 + "\n(cut off: these are the first 50000 of 60000 characters)")

    calls = [("weather", {"town": "Rome"})] * 25
    events = await run(engine, agent(), says(None, *calls), id="exec-3")
    assert (ending(events).error.type, ending(events).error.node) == ("agent.too_long", "ask")


async def test_expressions_inside_an_agent_see_what_the_agent_sees(engine: Machine) -> None:
    document = """
nodes:
  each:
    type: foreach
    params: {items: [{town: Rome, ask: Umbrella?}], as: order}
    nodes:
      ask: {type: transform, params: {value: {who: me}}, next: answer}
      answer:
        type: agent
        params:
          base_url: http://model/v1
          model: m
          prompt: "${item.ask} ${order.town} ${index} ${input.who} ${nodes.ask.result.who}"
          tools:
            - name: weather
              description: The weather
              http.request: {url: "http://peer/${order.town}/${index}/${input.who}/${call.arguments.x}"}
              output: "${input.who}: ${result.body}"
        output: "${result.content}"
"""
    engine.http.at("http://peer/Rome/0/me/7", answer(body='"sun"'))
    events = await run(engine, document, says(None, ("weather", {"x": 7})), says("No."))

    assert ending(events) == Completed(result=["No."])
    assert asked(engine.http)[1]["messages"][0]["content"] == "Umbrella? Rome 0 me me"
    assert asked(engine.http)[1]["messages"][2]["content"] == "me: sun"


@pytest.mark.parametrize("times", range(1, 7))
async def test_a_killed_agent_goes_on_where_it_was(path: Path, times: int) -> None:
    """The process dies while the request number ``times`` is under way; three questions and three calls are made."""
    http = FakeHttp()
    script: list[tuple[str, Answer]] = [
        (MODEL, says(None, ("weather", {"town": "A"}), ("weather", {"town": "B"}))),
        ("http://peer/A", answer(body='"a"')),
        ("http://peer/B", answer(body='"b"')),
        (MODEL, says(None, ("weather", {"town": "C"}))),
        ("http://peer/C", answer(body='"c"')),
        (MODEL, says("Done.")),
    ]
    for url in dict.fromkeys(url for url, _ in script):
        given = [(number, reply) for number, (its, reply) in enumerate(script, 1) if its == url]
        # The request that the crash cuts off is made again.
        http.at(url, *[part for number, reply in given for part in ([never] if number == times else []) + [reply]])
    async with machine(path, http=http) as before:
        await before.save(agent("      concurrency: 1"))
        await before.start(input=QUESTION)

        async def is_cut() -> bool:
            return len(http.requests) == times

        await before.until(is_cut)
    async with machine(path, http=http) as after:
        assert await after.until_ended() is Status.COMPLETED
        events = await after.events()

    made = [request.url for request in http.requests]
    expected = [url for url, _ in script]
    assert made == [*expected[:times], *expected[times - 1 :]]
    keys = [request.key for request in http.requests]
    assert len(set(keys)) == len(script), "each step has a key of its own, and a repeat the same"
    assert [len(question["messages"]) for question in asked(http)][-1] == 6
    assert ending(events).result["content"] == "Done."
    assert [event.node for event in of_type(NodeCompleted, events)].count("weather") == 3


async def test_a_tool_that_must_not_be_repeated_is_told_as_interrupted(path: Path) -> None:
    http = FakeHttp()
    http.at(MODEL, says(None, ("weather", {"town": "A"})), says("Unknown."))
    http.at("http://peer/A", never)
    async with machine(path, http=http) as before:
        await before.save(agent("", "          idempotent: false"))
        await before.start(input=QUESTION)
        await before.until_requested("http://peer/A")
    async with machine(path, http=http) as after:
        await after.until_ended()

    assert json.loads(asked(http)[1]["messages"][2]["content"])["error"]["type"] == "interrupted"
    assert urls(http).count("http://peer/A") == 1


async def test_a_cancelled_agent_cancels_the_flow_that_it_has_called(engine: Machine) -> None:
    await engine.save("nodes: {rest: {type: wait, params: {key: never}}}", "slow")
    await engine.save(agent("", "        - {flow: slow, description: Waits}"))
    engine.http.at(MODEL, says(None, ("slow", {})))
    await engine.start(input=QUESTION)

    async def waits() -> bool:
        return rows_of(engine.path, "SELECT status FROM executions WHERE id <> 'exec-1'") == [("waiting",)]

    await engine.until(waits)
    await engine.dispatcher.cancel(ExecutionId("exec-1"), reason="enough")

    async def all_cancelled() -> bool:
        return rows_of(engine.path, "SELECT DISTINCT status FROM executions") == [("cancelled",)]

    await engine.until(all_cancelled)


async def test_the_whole_agent_has_a_time_limit(engine: Machine) -> None:
    engine.http.at(MODEL, never)
    await engine.save(agent() + "    timeout: 5m\n")
    await engine.start(input=QUESTION)
    await engine.until_requested(MODEL)
    engine.clock.advance(minutes=6)
    engine.look_at_timers()
    await engine.until_ended()

    assert ending(await engine.events()).error.type == "timeout"


async def test_a_flow_that_there_is_not_fails_before_the_model_is_asked(engine: Machine) -> None:
    events = await run(engine, agent("", "        - {flow: nothing}"), says("Yes."))

    assert ending(events).error.type == "flow.not_found"
    assert urls(engine.http) == []


async def test_a_rerun_from_a_turn_keeps_the_turns_before(engine: Machine) -> None:

    await run(engine, agent(), says(None, ("weather", {"town": "Rome"})), says("No."))
    engine.http.requests.clear()
    engine.http.at(MODEL, says("Other."))
    again = await engine.reruns.rerun(
        caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), RerunRequest(from_step="answer.1[2]/ask.1")
    )
    await engine.until_ended(again.id)

    assert urls(engine.http) == [MODEL]
    assert ending(await engine.events(again.id)).result["content"] == "Other."


async def test_a_long_conversation_has_one_event_for_each_step(engine: Machine) -> None:
    document = agent().replace("max_turns: 4", "max_turns: 100")
    turns: Sequence[Answer] = [says(None, ("weather", {"town": "Rome"})) for _ in range(99)]
    events = await run(engine, document, *turns, says("Done."))

    assert ending(events).result["turns"] == 100
    opened = of_type(ScopesOpened, events)
    assert len(opened) == 199
    assert [event.details is None for event in opened] == [False] + [True] * 198


async def test_a_long_conversation_is_left_out_of_the_result_and_not_the_answer(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(body=json.dumps("\u00e9" * 50_000, ensure_ascii=False)))
    events = await run(engine, agent(), says(None, *[("weather", {"town": "Rome"})] * 18), says("Short."))

    result = ending(events).result
    assert (result["content"], result["messages"], len(result["steps"])) == ("Short.", None, 18)


async def test_long_arguments_are_left_out_of_the_result_and_not_the_answer(engine: Machine) -> None:
    asking = says(None, *[("weather", {"town": "Rome", "note": "\u20ac" * 50_000})] * 8)
    events = await run(engine, agent(), asking, asking, says("Short."))

    result = ending(events).result
    assert (result["content"], result["messages"]) == ("Short.", None)
    assert [(step["tool"], step["arguments"]) for step in result["steps"]] == [("weather", None)] * 16


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("prompt: '${flow.input.none}'", "give either 'prompt' or 'messages'"),
        ("prompt: '${flow.input.text.length}'", "prompt: must be text"),
        ("messages: '${flow.input.text}'", "messages: must be a list"),
        ("messages: ['${flow.input.text}']", "messages.0: must be a map"),
    ],
)
async def test_a_prompt_that_is_none_is_an_error_of_the_question(engine: Machine, written: str, said: str) -> None:
    document = agent().replace('prompt: "${flow.input.question}"', written).replace("{question: {type: string}}", "{}")
    await engine.save(document.replace("inputs: {}\n", ""))
    await engine.start(input={"none": None, "text": "Hello"})
    await engine.until_ended()

    error = ending(await engine.events()).error
    assert (error.type, error.node) == ("input.invalid", "ask")
    assert said in error.message


async def test_a_conversation_has_at_most_a_thousand_messages(engine: Machine) -> None:
    document = agent().replace("max_turns: 4", "max_turns: 100")
    events = await run(engine, document, says(None, *[("weather", {"town": "Rome"})] * 32))

    assert (ending(events).error.type, ending(events).error.node) == ("agent.too_long", "ask")
    assert len(asked(engine.http)) == 31


FAILED: Final = RerunRequest(from_step="answer", failed_elements=True)


async def test_the_failed_calls_of_the_last_answer_run_again_and_the_turns_before_are_kept(engine: Machine) -> None:
    for town in ("Rome", "Oslo"):
        engine.http.at(f"http://peer/{town}", answer(body=f'"{town}"'))
    engine.http.at("http://peer/Bern", answer(500))
    document = agent("      on_tool_error: fail")
    wrong = ("weather", {"city": "Rome"})
    calls = [("weather", {"town": town}) for town in ("Oslo", "Bern")]
    turns = [says(None, wrong, ("weather", {"town": "Rome"})), says(None, *calls), says("Rain.")]
    assert ending(await run(engine, document, *turns)).error.type == "http.500"

    engine.http.requests.clear()
    engine.http.at("http://peer/Bern", answer(body='"Bern"'))
    again = await engine.reruns.rerun(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), FAILED)
    await engine.until_ended(again.id)

    assert urls(engine.http) == ["http://peer/Bern", MODEL]
    (question,) = asked(engine.http)
    told = [message["content"] for message in question["messages"] if message["role"] == "tool"]
    assert "do not fit" in told[0]
    assert told[1:] == ["Rome", "Oslo", "Bern"]
    assert ending(await engine.events(again.id)).result["content"] == "Rain."


async def test_a_failed_question_runs_again_and_the_calls_before_it_do_not(engine: Machine) -> None:
    events = await run(engine, agent(), says(None, ("weather", {"town": "Rome"})), answer(503))
    assert ending(events).error.type == "http.503"

    engine.http.requests.clear()
    engine.http.at(MODEL, says("Sun."))
    again = await engine.reruns.rerun(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), FAILED)
    await engine.until_ended(again.id)

    assert urls(engine.http) == [MODEL]
    assert ending(await engine.events(again.id)).result["turns"] == 2


async def test_calls_whose_errors_the_model_was_told_do_not_run_again_alone(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(500))
    await run(engine, agent(), says(None, ("weather", {"town": "Rome"})), says("Sorry."))

    with pytest.raises(InvalidInput, match=r"All elements of 'answer\.1' have completed"):
        await engine.reruns.rerun(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), FAILED)


async def test_an_agent_is_a_handler_of_a_failure_too(engine: Machine) -> None:
    document = agent().replace("nodes:", "on_failure: answer\nnodes:\n  bad: {type: fail, params: {error: a.b}}", 1)
    document = document.replace("${flow.input.question}", "${error.type}")
    events = await run(engine, document, says(None, ("weather", {"town": "Rome"})), says("Told."))

    assert ending(events).error.type == "a.b"
    assert asked(engine.http)[1]["messages"][0]["content"] == "a.b"
    assert [str(event.step) for event in of_type(NodeStarted, events)][-1] == "on_failure/answer.1[2]/ask.1"


async def test_a_model_that_gives_its_answer_in_a_form_is_asked_with_tools_too(engine: Machine) -> None:
    form = "      response_schema: {type: object, properties: {umbrella: {type: boolean}}}"
    events = await run(engine, agent(form), says(None, ("weather", {"town": "Rome"})), says('{"umbrella": false}'))

    assert ending(events).result["structured"] == {"umbrella": False}
    assert {"tools", "response_format"} <= asked(engine.http)[1].keys()


async def test_an_answer_that_does_not_fit_its_schema_is_asked_for_again(engine: Machine) -> None:
    form = "      response_schema: {type: object, properties: {umbrella: {type: boolean}}}"
    again = "\n    retry: {max: 1, delay: 1ms, errors: [llm.schema]}"
    events = await run(engine, agent(form, again), says('{"umbrella": "no"}'), says('{"umbrella": false}'))

    assert ending(events).result["structured"] == {"umbrella": False}
    assert [event.error.type for event in of_type(NodeFailed, events)] == ["llm.schema"]


MCP: Final = """
        - mcp: {url: "http://mcp/", headers: {Authorization: "Bearer ${secrets.TOKEN}"}, tools: [add, look]}
          retry: {max: 1, delay: 1ms}"""


def listing(*names: str) -> HttpAnswer:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    tools = [{"name": name, "description": f"Does {name}", "inputSchema": schema} for name in names]
    return answer(body=json.dumps({"id": 1, "result": {"tools": tools}}))


def given(text: str, **more: Any) -> HttpAnswer:
    return answer(body=json.dumps({"id": 1, "result": {"content": [{"type": "text", "text": text}], **more}}))


DISCOVERED: Final = answer(body=json.dumps({"id": 1, "result": {"supportedVersions": ["2026-07-28"]}}))


async def test_the_tools_of_an_mcp_server_are_listed_once_and_called(engine: Machine) -> None:
    await secret(engine, "TOKEN", "very-secret-token")
    engine.http.at(
        "http://mcp/", answer(503), DISCOVERED, listing("other", "add", "look"), given("3"), given("no", isError=True)
    )
    calls = [("add", {"a": 1}), ("look", {"a": 2}), ("other", {"a": 1}), ("add", {"a": "1"})]
    events = await run(engine, agent("      concurrency: 1", MCP), says(None, *calls), says("Done."))

    assert [tool["function"]["name"] for tool in asked(engine.http)[0]["tools"]] == ["weather", "add", "look"]
    assert asked(engine.http)[0]["tools"] == asked(engine.http)[1]["tools"]
    told = [message["content"] for message in asked(engine.http)[1]["messages"][2:]]
    assert told[0] == "3"
    assert [json.loads(text)["error"]["type"] for text in told[1:]] == ["mcp.tool", "input.invalid", "input.invalid"]
    made = [json.loads(request.body or b"") for request in engine.http.requests if request.url == "http://mcp/"]
    assert [message["method"] for message in made] == [
        "server/discover", "server/discover", "tools/list", "tools/call", "tools/call",
    ]  # fmt: skip
    assert made[3]["params"]["arguments"] == {"a": 1}
    assert {request.headers["Authorization"] for request in engine.http.requests if request.url == "http://mcp/"} == {
        "Bearer very-secret-token"
    }
    assert path_of(events) == ["answer", "list 1", "ask", "add", "look", "rejected", "rejected", "ask"]
    assert not rows_of(engine.path, "SELECT 1 FROM events WHERE data LIKE '%very-secret%'")
    assert ending(events).result["content"] == "Done."


async def test_an_mcp_server_without_a_tool_fails_the_agent_before_the_model_is_asked(engine: Machine) -> None:
    await secret(engine, "TOKEN", "very-secret-token")
    engine.http.at("http://mcp/", DISCOVERED, listing("add"))
    events = await run(engine, agent("", MCP), says("Done."))

    assert (ending(events).error.type, ending(events).error.node) == ("mcp.no_tool", "list 1")
    assert MODEL not in urls(engine.http)


async def test_a_killed_agent_lists_the_tools_of_an_mcp_server_no_more(path: Path) -> None:
    http = FakeHttp()
    http.at("http://mcp/", DISCOVERED, listing("add", "look"), never, given("3"))
    http.at(MODEL, says(None, ("add", {"a": 1})), says("Done."))
    async with machine(path, http=http) as before:
        await secret(before, "TOKEN", "very-secret-token")
        await before.save(agent("", MCP))
        await before.start(input=QUESTION)
        await before.until_requested("http://mcp/", 3)
    async with machine(path, http=http) as after:
        assert await after.until_ended() is Status.COMPLETED

    made = [request for request in http.requests if request.url == "http://mcp/"]
    assert [json.loads(request.body or b"")["method"] for request in made] == [
        "server/discover", "tools/list", "tools/call", "tools/call",
    ]  # fmt: skip
    assert made[2].key == made[3].key
    assert len(asked(http)) == 2


async def test_the_nodes_of_an_agent_are_tried_like_others(engine: Machine) -> None:
    engine.http.at(MODEL, says("Yes."))
    flow = flow_of(agent("", "        - {flow: f}"), {name: t.spec() for name, t in engine.types.items()})
    trials = EngineTrials(engine.deps)
    given = TrialContext(
        flow_input={"question": "Rain?"}, item={"id": "c1", "name": "weather", "arguments": {"town": "Rome"}}
    )

    asks: Any = await trials.run(flow, "answer/ask", given, workspace_id=MARA, by=AccountId(MARA))
    calls = await trials.run(flow, "answer/weather", given, workspace_id=MARA, by=AccountId(MARA))

    assert (asks.status, asks.result["content"], calls.status) == ("completed", "Yes.", "completed")
    assert asked(engine.http)[0]["messages"] == [{"role": "user", "content": "Rain?"}]
    assert urls(engine.http)[1] == "http://peer/Rome"
    for node in ("answer", "answer/f"):
        with pytest.raises(InvalidInput, match="starts an execution"):
            await trials.run(flow, node, given, workspace_id=MARA, by=AccountId(MARA))


def hostile_calls() -> list[tuple[str, Any]]:
    """Calls that a model may be led to by what it reads, none of which the document allows."""
    names = [
        "delete_all",
        "ask",
        "rejected",
        "answer",
        "weather ",
        " weather",
        "Weather",
        "WEATHER",
        "weather\x00",
        "we\u0430ther",
        "weather;drop",
        "../weather",
        "weather/../ask",
        "weather.1",
        "answer.1[0]/ask.1",
        "${secrets.TOKEN}",
        "flow",
        "http.request",
        "transform",
        "__proto__",
        "constructor",
        "toString",
        "__class__",
        "0",
        "-1",
        "null",
        "*",
        "%s",
        "{{weather}}",
        "<weather>",
        "weather()",
        "functions.weather",
        "tool:weather",
        "x" * 64,
        "x" * 10_000,
        "\ud7ff",
    ]
    texts = [
        None,
        True,
        7,
        7.5,
        [],
        {},
        ["Rome"],
        {"$ref": "#"},
        {"toString": "x"},
        [["Rome"]],
        {"town": "Rome"},
        1e300,
    ]
    extra = [
        "url",
        "headers",
        "method",
        "body",
        "auth",
        "__proto__",
        "constructor",
        "id",
        "call",
        "flow",
        "input",
        "version",
        "timeout",
        "retry",
        "Town",
        "TOWN",
        "town ",
        "$",
        "${secrets.TOKEN}",
        "toString",
        "",
        "0",
        "town.name",
    ]
    whole = [None, [], "Rome", 7, True, [{"town": "Rome"}], "{", '{"town": "Rome"', "town=Rome", "[" * 5000, "\u0000"]
    return [
        *((name, {"town": "Rome"}) for name in names),
        *(("weather", {"town": text}) for text in texts),
        *(("weather", {"town": "Rome", name: "http://evil/"}) for name in extra),
        *(("weather", {name: "Rome"}) for name in extra),
        *(("weather", arguments) for arguments in whole),
    ]


async def test_no_call_beyond_the_document_is_made(engine: Machine) -> None:
    calls = hostile_calls()
    assert len(calls) >= 100
    parts = [calls[at : at + 32] for at in range(0, len(calls), 32)]
    document = agent().replace("max_turns: 4", "max_turns: 10")
    events = await run(engine, document, *[says(None, *part) for part in parts], says("Nothing."))

    assert ending(events).result["content"] == "Nothing."
    assert set(urls(engine.http)) == {MODEL}
    assert path_of(events).count("rejected") == len(calls)


@pytest.mark.parametrize(
    "more",
    [
        {"example": {"a": 1}},
        {"$id": "https://tools.example.com/add"},
        {"properties": {"a": {"type": "integer", "required": True}}},
        {"properties": {"a": {"type": "string", "pattern": "^(?!x)"}}},
        {"properties": {"a": {"enum": []}}},
        {"properties": {"a": {"$ref": "https://tools.example.com/a.json"}}},
        {"$defs": {"t": {"properties": {"n": {"$ref": "#/$defs/t"}}}}, "properties": {"a": {"$ref": "#/$defs/t"}}},
        {"properties": {f"p{number}": {"type": "integer"} for number in range(2500)}},
    ],
)  # fmt: skip
async def test_a_schema_of_an_mcp_server_that_cannot_be_read_is_left_to_the_server(
    engine: Machine, more: dict[str, Any]
) -> None:
    await secret(engine, "TOKEN", "very-secret-token")
    tools = [{"name": name, "inputSchema": {"type": "object", **more}} for name in ("add", "look")]
    listed = answer(body=json.dumps({"id": 1, "result": {"tools": tools}}))
    engine.http.at("http://mcp/", DISCOVERED, listed, given("3"))
    turns = [says(None, ("add", {"a": 1}), ("add", {"a": 2})), says(None, ("add", {"a": 3}))]
    events = await run(engine, agent("      concurrency: 1", MCP), *turns, says("Done."))

    assert path_of(events) == ["answer", "list 1", "ask", "add", "add", "ask", "add", "ask"]
    warned = [event.message for event in of_type(Logged, events) if event.level == "warn"]
    assert len(warned) == 1
    assert "'add' are checked by the MCP server alone: the schema has faults" in warned[0]


async def test_a_schema_that_the_document_computes_and_that_cannot_be_read_fails_the_agent(engine: Machine) -> None:
    document = agent().replace("properties: {town: {type: string}}", 'properties: "${flow.input.question}"')
    events = await run(engine, document, says(None, ("weather", {"town": "Rome"})), says("Done."))

    error = ending(events).error
    assert (error.type, "of the tool weather cannot be checked" in error.message) == ("input.invalid", True)


async def test_an_answer_that_makes_the_conversation_too_long_is_not_lost(engine: Machine) -> None:
    engine.http.at("http://peer/Rome", answer(body=json.dumps("x" * 49_900)))
    long = "y" * 60_000
    events = await run(engine, agent(), says(None, *[("weather", {"town": "Rome"})] * 19), says(long))

    result = ending(events).result
    assert (result["content"] == long, result["messages"], len(result["steps"])) == (True, None, 19)


async def test_results_that_take_too_much_memory_are_an_error_of_the_agent_and_its_edges_catch_it(
    engine: Machine,
) -> None:
    engine.http.at("http://peer/Rome", answer(body=f"[{'{},' * 250_000}{{}}]"))
    document = agent() + "    next: {error.agent: long}\n  long: {type: return, params: {value: '${error.message}'}}\n"
    events = await run(engine, document, says(None, *[("weather", {"town": "Rome"})] * 8), says("Done."))

    (failed,) = [event for event in of_type(NodeFailed, events) if event.node == "answer"]
    assert failed.error.type == "agent.too_long"
    assert "let tools return less with 'output'" in ending(events).result


async def test_a_model_calls_tools_of_mcp_servers_by_names_that_the_language_makes(engine: Machine) -> None:
    await secret(engine, "TOKEN", "very-secret-token")
    both = MCP.replace("[add, look]", "[add.two]") + "\n" + MCP.replace("[add, look]", "[add_two]")
    found = [{"name": "add.two", "description": "Adds"}, {"name": "add_two", "description": "Sums"}]
    listed = answer(body=json.dumps({"id": 1, "result": {"tools": found}}))
    server = both.replace("tools: [", "protocol: '2026-07-28', tools: [")
    engine.http.at("http://mcp/", listed, listed, given("3"), given("7"))
    turns = [says(None, ("add_two", {"a": 1}), ("add_two_2", {"a": 2})), says("Done.")]
    events = await run(engine, agent("      concurrency: 1", server), *turns)

    shown = [tool["function"] for tool in asked(engine.http)[0]["tools"]]
    assert [(tool["name"], tool.get("description")) for tool in shown[1:]] == [
        ("add_two", "Adds"), ("add_two_2", "Sums")
    ]  # fmt: skip
    bodies = [json.loads(request.body or b"") for request in engine.http.requests if request.url == "http://mcp/"]
    assert [body["params"]["name"] for body in bodies if body["method"] == "tools/call"] == ["add.two", "add_two"]
    assert path_of(events) == ["answer", "list 1", "list 2", "ask", "add_two", "add_two_2", "ask"]
    lines = [event.message for event in of_type(Logged, events)]
    assert "Turn 1: the model calls 'add_two', the tool 'add.two' of its server" in lines
    assert "Turn 1: the model calls 'add_two_2', the tool 'add_two' of its server" in lines


async def test_the_revision_of_an_mcp_server_is_that_of_the_document(engine: Machine) -> None:
    await secret(engine, "TOKEN", "very-secret-token")
    engine.http.at("http://mcp/", listing("add", "look"), given("3"))
    server = MCP.replace("tools: [add", "protocol: '2026-07-28', tools: [add")
    events = await run(engine, agent("", server), says(None, ("add", {"a": 1})), says("Done."))

    made = [json.loads(request.body or b"") for request in engine.http.requests if request.url == "http://mcp/"]
    assert [message["method"] for message in made] == ["tools/list", "tools/call"]
    assert ending(events).result["content"] == "Done."


async def test_a_killed_call_is_made_again_in_a_session_of_its_own(path: Path) -> None:
    def session(id: str) -> HttpAnswer:
        found = {"id": 1, "result": {"protocolVersion": "2025-11-25", "capabilities": {}}}
        return answer(body=json.dumps(found), mcp_session_id=id)

    http, done = FakeHttp(), answer(202, body="")
    http.at(
        "http://mcp/",
        *(session("s1"), done, listing("add", "look"), done),
        *(session("s2"), done, never),
        *(session("s3"), done, given("3"), never),
    )
    http.at(MODEL, says(None, ("add", {"a": 1})), says("Done."))
    document = agent("", MCP.replace("tools: [add", "protocol: '2025-11-25', tools: [add"))
    async with machine(path, http=http) as before:
        await secret(before, "TOKEN", "very-secret-token")
        await before.save(document)
        await before.start(input=QUESTION)
        await before.until_requested("http://mcp/", 7)
    async with machine(path, http=http) as after:
        assert await after.until_ended() is Status.COMPLETED
        assert ending(await after.events()).result["content"] == "Done."

    made = [request for request in http.requests if request.url == "http://mcp/"]
    called = [request for request in made if b"tools/call" in (request.body or b"")]
    assert [request.headers["Mcp-Session-Id"] for request in called] == ["s2", "s3"]
    assert called[0].key == called[1].key
    ended = [request for request in made if request.method == "DELETE"]
    assert [request.headers["Mcp-Session-Id"] for request in ended] == ["s1", "s3"]
    assert not {request.key for request in ended} & {called[0].key}


async def test_an_agent_goes_on_whose_servers_an_earlier_version_has_recorded() -> None:
    details: Any = {
        "tools": [],
        "servers": [["add", "look"]],
        "max_turns": 4,
        "concurrency": 1,
        "on_tool_error": "tell",
    }
    listed: Any = {"protocol": "2026-07-28", "tools": [{"name": "add", "description": "Adds", "parameters": {}}]}
    asked_for: Any = {"content": None, "tool_calls": [{"id": "c1", "name": "add", "arguments": {"a": 1}}]}
    first = ScopesEnded(["0"], {"0": listed}, {}, details)
    second = ScopesEnded(["1"], {"0": listed, "1": asked_for}, {}, details)

    question: Any = await Agent().inner_params("ask", {"prompt": "p"}, None, first)
    call: Any = await Agent().inner_params("add", {"tool": "add", "url": "http://mcp/"}, {"arguments": {}}, second)
    opened = await Agent().on_scopes_ended(None, PlainContext(FakeHttp()), second)
    assert question["tools"] == [{"name": "add", "description": "Adds", "parameters": {}}]
    assert call["protocol"] == "2026-07-28"
    assert isinstance(opened, RunScopes)
    assert (opened.keys, opened.starts) == (["2"], ["add"])
