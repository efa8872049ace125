"""`llm` against a real server that answers as those of models do."""

import json
from typing import Any, Final

import pytest

from flowrunner.nodes.agent import Agent
from flowrunner.nodes.llm import Llm
from flowrunner.plugin import NodeFailure
from flowrunner.security.egress import EgressClient
from support.contexts import PlainContext

from .conftest import Peer, Seen

NODE: Final = Llm()
FORM: Final = {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"]}
WEATHER: Final = {"name": "weather", "description": "The weather", "parameters": {"type": "object"}}
HAIKU: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "You are a poet."},
    {"role": "user", "content": "What is the weather?"},
    {"role": "assistant", "tool_calls": [{"id": "c1", "name": "weather", "arguments": {"town": "Rome"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
]


def openai_answer(finish_reason: str = "stop", **message: Any) -> str:
    return json.dumps(
        {
            "model": "m-2027-01-01",
            "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }
    )


def anthropic_answer(*content: dict[str, Any], stop_reason: str = "end_turn") -> str:
    usage = {"input_tokens": 9, "output_tokens": 12}
    return json.dumps({"model": "c-1", "content": content, "stop_reason": stop_reason, "usage": usage})


def called(name: str, arguments: Any) -> list[dict[str, Any]]:
    return [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}]


class Asking:
    """Asks as a node of a flow does."""

    def __init__(self, client: EgressClient, peer: Peer) -> None:
        self.context = PlainContext(client)
        self.peer = peer

    async def ask(self, answer: str, status: int = 200, **params: Any) -> Any:
        path = "/v1/messages" if params.get("provider") == "anthropic" else "/v1/chat/completions"
        self.peer.give(path, status, answer, Content_Type="application/json", Retry_After="7")
        given = {"base_url": f"{self.peer.url}/v1", "api_key": "sk-1", "model": "m", **params}
        if "messages" not in given:
            given.setdefault("prompt", "Hello")
        return await NODE.run(NODE.read({k: v for k, v in given.items() if v is not None}), self.context)

    async def broken(self, sent: bytes) -> NodeFailure:
        """Return the failure of a question whose answer is sent as it is, after which the connection ends."""
        self.peer.give_bytes("/v1/chat/completions", sent)
        with pytest.raises(NodeFailure) as failed:
            await NODE.run(NODE.read({"base_url": f"{self.peer.url}/v1", "model": "m", "prompt": "p"}), self.context)
        return failed.value

    async def fail(self, answer: str, status: int = 200, **params: Any) -> NodeFailure:
        with pytest.raises(NodeFailure) as failed:
            await self.ask(answer, status, **params)
        return failed.value

    @property
    def seen(self) -> Seen:
        return self.peer.seen[-1]

    @property
    def sent(self) -> Any:
        return json.loads(self.seen.body)


@pytest.fixture
def asking(client: EgressClient, peer: Peer) -> Asking:
    return Asking(client, peer)


async def test_a_prompt_is_answered_by_a_server_with_the_api_of_openai(asking: Asking) -> None:
    result = await asking.ask(openai_answer(content="Hi."), system="Be short.", temperature=0, max_tokens=50)

    assert result == {
        "content": "Hi.",
        "structured": None,
        "tool_calls": [],
        "finish_reason": "stop",
        "usage": {"input_tokens": 9, "output_tokens": 12},
        "model": "m-2027-01-01",
    }
    assert (asking.seen.path, asking.seen.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-1")
    assert asking.sent == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_tokens": 50,
    }


async def test_a_prompt_is_answered_by_anthropic(asking: Asking) -> None:
    blocks = {"type": "text", "text": "Hi"}, {"type": "text", "text": " there."}
    result = await asking.ask(anthropic_answer(*blocks), provider="anthropic", system="Be short.")

    assert (result["content"], result["finish_reason"], result["model"]) == ("Hi there.", "stop", "c-1")
    assert result["usage"] == {"input_tokens": 9, "output_tokens": 12}
    headers = asking.seen.headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-1", "2023-06-01")
    assert "authorization" not in headers
    assert asking.sent == {
        "model": "m",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "Be short."}],
        "messages": [{"role": "user", "content": "Hello"}],
    }


async def test_a_conversation_with_tools_is_written_for_each_provider(asking: Asking) -> None:
    await asking.ask(openai_answer(content="Sun."), messages=HAIKU, tools=[WEATHER])
    assert asking.sent["messages"] == [
        *HAIKU[:2],
        {"role": "assistant", "content": None, "tool_calls": called("weather", '{"town":"Rome"}')},
        HAIKU[3],
    ]
    assert asking.sent["tools"] == [{"type": "function", "function": WEATHER}]

    await asking.ask(anthropic_answer(), provider="anthropic", messages=HAIKU, tools=[WEATHER])
    assert asking.sent["system"] == [{"type": "text", "text": "You are a poet."}]
    assert asking.sent["messages"] == [
        HAIKU[1],
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"town": "Rome"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]},
    ]
    assert asking.sent["tools"] == [
        {"name": "weather", "description": "The weather", "input_schema": {"type": "object"}}
    ]


async def test_calls_of_tools_are_given_as_values_and_can_be_sent_back(asking: Asking) -> None:
    from_openai = await asking.ask(openai_answer("tool_calls", tool_calls=called("weather", '{"town": "Rome"}')))
    use = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"town": "Rome"}}
    from_anthropic = await asking.ask(anthropic_answer(use, stop_reason="tool_use"), provider="anthropic")

    for result in (from_openai, from_anthropic):
        assert (result["content"], result["finish_reason"]) == (None, "tool_calls")
        assert result["tool_calls"] == [{"id": "c1", "name": "weather", "arguments": {"town": "Rome"}}]
    again = {"role": "assistant", "tool_calls": from_openai["tool_calls"]}
    await asking.ask(openai_answer(content="Sun."), messages=[HAIKU[1], again, HAIKU[3]])
    assert asking.sent["messages"][1]["tool_calls"] == called("weather", '{"town":"Rome"}')


async def test_arguments_that_are_no_json_stay_text(asking: Asking) -> None:
    result = await asking.ask(openai_answer("tool_calls", tool_calls=called("weather", '{"town": ')))

    assert result["tool_calls"][0]["arguments"] == '{"town": '


async def test_an_answer_of_a_form_is_given_as_a_value(asking: Asking) -> None:
    result = await asking.ask(openai_answer(content='{"topic": "delivery"}'), response_schema=FORM)
    assert result["structured"] == {"topic": "delivery"}
    assert asking.sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": FORM, "strict": True},
    }

    use = {"type": "tool_use", "id": "c1", "name": "answer", "input": {"topic": "delivery"}}
    answer = anthropic_answer(use, stop_reason="tool_use")
    result = await asking.ask(answer, provider="anthropic", response_schema=FORM)
    assert (result["structured"], result["tool_calls"]) == ({"topic": "delivery"}, [])
    assert result["finish_reason"] == "stop"
    assert asking.sent["tool_choice"] == {"type": "tool", "name": "answer"}
    assert asking.sent["tools"][0]["input_schema"] == FORM


async def test_a_model_that_may_give_an_answer_or_call_a_tool_is_let_choose(asking: Asking) -> None:
    use = {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
    answer = anthropic_answer(use, stop_reason="tool_use")
    result = await asking.ask(answer, provider="anthropic", response_schema=FORM, tools=[WEATHER])

    assert asking.sent["tool_choice"] == {"type": "any"}
    assert (result["structured"], result["finish_reason"]) == (None, "tool_calls")
    assert [call["name"] for call in result["tool_calls"]] == ["weather"]


@pytest.mark.parametrize(
    ("answer", "type"),
    [
        (openai_answer(refusal="I will not."), "llm.refused"),
        (openai_answer("content_filter", content=""), "llm.refused"),
        (openai_answer("length", content='{"topic": "deli'), "llm.too_long"),
        (openai_answer(content="It is about a delivery."), "llm.invalid_answer"),
        (openai_answer(content='["delivery"]'), "llm.invalid_answer"),
        (openai_answer(content=None), "llm.invalid_answer"),
        (openai_answer(content="[" * 100_000), "llm.invalid_answer"),
    ],
)
async def test_an_answer_that_is_not_of_the_form_fails_with_what_was_said(
    asking: Asking, answer: str, type: str
) -> None:
    failure = await asking.fail(answer, response_schema=FORM)

    assert failure.type == type
    assert failure.data["model"] == "m-2027-01-01"  # type: ignore[index,call-overload] # an object
    assert failure.type in Llm.errors or failure.type.partition(".")[0] in Llm.errors


async def test_a_cut_off_call_of_the_answer_of_anthropic_is_no_answer(asking: Asking) -> None:
    use = {"type": "tool_use", "id": "c1", "name": "answer", "input": {}}
    answer = anthropic_answer(use, stop_reason="max_tokens")

    assert (await asking.fail(answer, provider="anthropic", response_schema=FORM)).type == "llm.too_long"


async def test_without_a_form_a_refusal_and_a_cut_off_answer_are_results(asking: Asking) -> None:
    refused = await asking.ask(openai_answer(refusal="I will not."))
    cut_off = await asking.ask(openai_answer("length", content="Once upon"))

    assert (refused["content"], refused["finish_reason"]) == ("I will not.", "refused")
    assert (cut_off["content"], cut_off["finish_reason"]) == ("Once upon", "length")


@pytest.mark.parametrize("provider", [None, "anthropic"])
async def test_an_answer_that_does_not_fit_its_schema_fails_with_it(asking: Asking, provider: str | None) -> None:
    use = {"type": "tool_use", "id": "c1", "name": "answer", "input": {"topic": 7}}
    answer = anthropic_answer(use, stop_reason="tool_use") if provider else openai_answer(content='{"topic": 7}')
    failure = await asking.fail(answer, provider=provider, response_schema=FORM)

    assert (failure.type, failure.message) == (
        "llm.schema", "The answer does not fit 'response_schema': topic: must be text",
    )  # fmt: skip
    assert failure.data["structured"] == {"topic": 7}  # type: ignore[index,call-overload] # an object


async def test_s27_no_part_of_a_secret_stands_where_the_faults_of_an_answer_are_cut(asking: Asking) -> None:
    form = {"type": "object", "additionalProperties": {"type": "string"}}
    long, several = {f"{'x' * 990}a-secret-key": 7}, {f"{'x' * 600}{n} a-secret-key": 7 for n in range(5)}

    for given in (long, several):
        failure = await asking.fail(openai_answer(content=json.dumps(given)), response_schema=form)

        assert "a-s" not in failure.message.replace("a-secret-key", "***")


async def test_no_question_is_asked_with_a_schema_that_cannot_be_read(asking: Asking, peer: Peer) -> None:
    # The schema of an expression is not read when the flow is saved.
    failure = await asking.fail(openai_answer(content='{"topic": "x"}'), response_schema={"$dynamicRef": "#a"})

    assert failure.type == "input.invalid"
    assert "'response_schema' cannot be read" in failure.message
    assert peer.seen == []


@pytest.mark.parametrize("provider", [None, "anthropic"])
@pytest.mark.parametrize(
    "answer",
    ["null", "[]", "{}", '"ok"', "7", '{"choices": []}', '{"choices": [7]}', '{"choices": [{"message": null}]}',
     '{"choices": {"0": 1}}', '{"content": 7}', '{"content": [7]}', '{"content": [{"type": "text", "text": 7}]}',
     '{"content": [{"type": "tool_use"}]}', '{"content": null, "usage": 7}',
     '{"choices": [{"message": {"tool_calls": [{}]}}]}', '{"choices": [{"message": {}, "finish_reason": []}]}',
     '{"choices": [{"message": {"tool_calls": 7}}]}', '{"content": [], "usage": 7}',
     '{"choices": [{"message": {}}], "usage": "x"}', '{"choices": [{"message": {"content": 7}}]}',
     '{"choices": [{"message": {"tool_calls": [{"id": "c", "function": {"name": null}}]}}]}',
     '{"choices": [{"message": {}}], "model": 7}', '{"content": [], "model": {}}',
     '{"content": [], "stop_reason": {}}'],
)  # fmt: skip
async def test_an_answer_that_is_none_of_a_model_fails_with_its_body(
    asking: Asking, answer: str, provider: str | None
) -> None:
    failure = await asking.fail(answer, provider=provider)

    assert failure.type == "llm.invalid_answer"
    assert failure.data == {"body": json.loads(answer)}


async def test_a_refused_request_fails_like_one_of_http(asking: Asking) -> None:
    failure = await asking.fail('{"error": {"message": "slow down"}}', 429)

    assert (failure.type, failure.retry_after) == ("http.429", 7.0)
    assert failure.data["body"] == {"error": {"message": "slow down"}}  # type: ignore[index,call-overload] # an object
    assert failure.message == "HTTP request failed with status 429: 'slow down'"


TOO_LONG = "This model's maximum context length is 8192 tokens. Your messages have 9000."


@pytest.mark.parametrize(
    ("provider", "status", "body", "words"),
    [
        (None, 400, {"error": {"message": TOO_LONG, "code": "context_length_exceeded"}}, TOO_LONG),
        (None, 400, {"object": "error", "message": TOO_LONG, "code": 400}, TOO_LONG),
        (None, 404, {"error": "model 'm' not found"}, "model 'm' not found"),
        (None, 400, {"error": {"code": "content_filter", "message": "Filtered"}}, "Filtered"),
        ("anthropic", 400, {"type": "error", "error": {"message": "prompt is too long"}}, "prompt is too long"),
        ("anthropic", 529, {"type": "error", "error": {"message": "Overloaded"}}, "Overloaded"),
        (None, 500, {"error": {"message": "x" * 3000}}, "a text of 3000 characters"),
    ],
)  # fmt: skip
async def test_a_refusal_of_the_server_has_its_words(
    asking: Asking, provider: str | None, status: int, body: Any, words: str
) -> None:
    failure = await asking.fail(json.dumps(body), status, provider=provider)

    assert failure.type == f"http.{status}"
    assert failure.message.removeprefix(f"HTTP request failed with status {status}: ").strip("'") == words
    assert failure.data["body"] == body  # type: ignore[index,call-overload] # an object
    assert failure.retry_after == 7.0


@pytest.mark.parametrize("body", ["", "[]", "null", "{}", '{"error": {"message": 7}}', '{"error": []}', "<html>"])
async def test_a_refusal_without_words_has_its_status(asking: Asking, body: str) -> None:
    assert (await asking.fail(body, 500)).message == "HTTP request failed with status 500"


@pytest.mark.parametrize(
    ("provider", "answer", "words"),
    [
        (None, {"error": {"message": "Upstream is away", "code": 502}}, ": 'Upstream is away'"),
        (None, {"error": {"code": 502}}, ""),
        (None, {"choices": [{"error": {"message": "Cut"}, "message": {"content": "Once"}}]}, ": 'Cut'"),
        (None, {"choices": [{"finish_reason": "error", "message": {"content": "Once upon"}}]}, ""),
        ("anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, ": 'Busy'"),
    ],
)
async def test_an_error_in_an_answer_that_succeeded_is_no_answer(
    asking: Asking, provider: str | None, answer: Any, words: str
) -> None:
    failure = await asking.fail(json.dumps(answer), provider=provider)

    assert (failure.type, failure.message) == ("llm.error", f"The server of the model reports an error{words}")
    assert failure.data == {"body": answer}


async def test_an_answer_without_choices_says_so(asking: Asking) -> None:
    failure = await asking.fail('{"choices": [], "prompt_filter_results": []}')

    assert failure.type == "llm.invalid_answer"
    assert failure.message.endswith("/v1/chat/completions has no choices, so that the model has said nothing")


async def test_a_filter_that_takes_the_message_away_is_a_refusal(asking: Asking) -> None:
    answer = '{"choices": [{"index": 0, "finish_reason": "content_filter"}]}'

    assert (await asking.ask(answer))["finish_reason"] == "refused"
    assert (await asking.fail(answer, response_schema=FORM)).type == "llm.refused"


STREAM = b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\n'


@pytest.mark.parametrize(
    ("sent", "type", "words"),
    [
        (b"Content-Length: %d\r\n\r\n%b" % (len(STREAM), STREAM), "llm.invalid_answer", "is a stream of events"),
        (
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(STREAM), STREAM),
            "llm.invalid_answer",
            "is a stream of events",
        ),
        # The server ends in the middle of an event, of a chunk and of the answer.
        (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(STREAM) + 9, STREAM), "connection.lost", ""),
        (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(STREAM), STREAM), "connection.lost", ""),
        (b"Content-Length: 9000\r\n\r\n%b" % STREAM, "connection.lost", ""),
    ],
)
async def test_a_stream_that_nobody_asked_for_is_no_answer_whole_or_broken(
    asking: Asking, sent: bytes, type: str, words: str
) -> None:
    failure = await asking.broken(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + sent)

    assert failure.type == type
    assert words in failure.message


@pytest.mark.parametrize("body", ["<html>", "", '{"choices": [', "[" * 100_000])
async def test_an_answer_that_is_no_json_is_not_that_of_a_model(asking: Asking, body: str) -> None:
    failure = await asking.fail(body)

    assert failure.type == "llm.invalid_answer"
    assert "is no JSON, and not that of a language model" in failure.message
    assert failure.data["body"] == body  # type: ignore[index,call-overload] # an object


async def test_long_messages_are_sent_by_the_slots_for_long_requests(asking: Asking) -> None:
    text = "x" * 300_000
    messages = [{"role": "user", "content": text}]
    assert NODE.read({"base_url": "http://x/", "model": "m", "messages": messages}).is_long()

    result = await asking.ask(openai_answer(content=text), messages=messages)

    assert result["content"] == text
    assert asking.sent["messages"] == messages


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": "m", "prompt": "p", "api_key": "k"}, "give 'provider' (openai or anthropic), or 'base_url'"),
        ({"provider": "openai", "model": "m", "prompt": "p"}, "give 'api_key', as a secret"),
        ({"provider": "openai", "model": "m", "api_key": "k"}, "give either 'prompt' or 'messages'"),
        ({"base_url": "http://x/", "model": "m", "prompt": "p", "messages": HAIKU}, "either 'prompt' or 'messages'"),
        ({"base_url": "http://x/", "model": "m", "messages": [{"role": "user"}]}, "give 'content'"),
        (
            {"base_url": "http://x/", "model": "m", "messages": [{"role": "tool", "content": "x"}]},
            "give 'tool_call_id' with the role 'tool', and with no other",
        ),
        (
            {"base_url": "http://x/", "model": "m", "messages": [{**HAIKU[2], "role": "user"}]},
            "'tool_calls' are those of an assistant",
        ),
        ({"base_url": "http://x/", "model": "m", "prompt": "p", "tools": [WEATHER, WEATHER]}, "another tool"),
        (
            {"base_url": "http://x/", "model": "m", "prompt": "p", "tools": [{"name": "answer"}],
             "response_schema": FORM},
            "the name 'answer' is that of another tool, or of the answer",
        ),
    ],
)  # fmt: skip
def test_parameters_that_do_not_go_together_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeFailure) as failed:
        NODE.read(params)

    assert failed.value.type == "input.invalid"
    assert message in failed.value.message


def test_a_document_may_leave_every_value_to_an_expression() -> None:
    assert not NODE.check({
        "provider": "${config.LLM}", "api_key": "${secrets.LLM_KEY}", "model": "${config.MODEL}",
        "messages": "${flow.input.messages}", "temperature": "${flow.input.temperature}", "tools": "${vars.tools}",
        "base_url": "${config.LLM_URL}", "max_tokens": "${vars.most}", "response_schema": "${vars.form}",
    })  # fmt: skip
    faults = NODE.check({"base_url": "llm.example.com/v1", "model": "m", "prompt": "p"})
    assert [fault.hint for fault in faults] == ["write https://llm.example.com/v1"]


@pytest.mark.parametrize("node", [NODE, Agent()])
def test_a_template_with_variables_is_a_prompt_with_expressions(node: Llm | Agent) -> None:
    faults = node.check(
        {"base_url": "http://x/", "model": "m", "prompt": "p", "template": "Hi {name}", "variables": {"name": "Ada"}}
    )

    assert [(fault.keys, fault.hint) for fault in faults] == [
        (("template",), "write 'prompt', with ${…} where the values go"),
        (("variables",), "write 'prompt', with ${…} where the values go"),
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://llm.example.com/v1?api-version=1", "must have no query"),
        ("https://llm.example.com/v1#x", "must have no query and no fragment"),
        ("https://llm.example.com/v1/chat/completions", "must end before the name of the operation"),
        ("https://llm.example.com/v1/messages/", "must end before the name of the operation"),
    ],
)
def test_a_base_url_is_that_of_all_operations(url: str, message: str) -> None:
    (fault,) = NODE.check({"base_url": url, "model": "m", "prompt": "p"})

    assert message in fault.message


@pytest.mark.parametrize("provider", [None, "anthropic"])
async def test_an_answer_tool_that_gives_no_object_is_no_answer(asking: Asking, provider: str | None) -> None:
    for given in ("not json", [1], None):
        openai = openai_answer("tool_calls", tool_calls=called("answer", json.dumps(given) if given else "x"))
        use = {"type": "tool_use", "id": "c1", "name": "answer", "input": given or "x"}
        answer = anthropic_answer(use, stop_reason="tool_use") if provider else openai

        failure = await asking.fail(answer, provider=provider, response_schema=FORM)

        assert failure.type == "llm.invalid_answer"


async def test_calls_of_a_server_that_says_it_has_stopped_are_calls(asking: Asking) -> None:
    for form in (None, FORM):
        answer = openai_answer("stop", tool_calls=called("weather", "{}"))
        result = await asking.ask(answer, tools=[WEATHER], response_schema=form)

        assert (result["finish_reason"], result["structured"]) == ("tool_calls", None)


@pytest.mark.parametrize(
    ("id", "arguments", "expected"),
    [
        ("", "", {"id": "call_0", "name": "weather", "arguments": {}}),
        (None, None, {"id": "call_0", "name": "weather", "arguments": {}}),
        (7, "[1]", {"id": "call_0", "name": "weather", "arguments": "[1]"}),
        ("c", {"town": "Rome"}, {"id": "c", "name": "weather", "arguments": {"town": "Rome"}}),
        ("c", [1], {"id": "c", "name": "weather", "arguments": "[1]"}),
    ],
)
async def test_every_call_can_be_sent_back_as_it_is(asking: Asking, id: Any, arguments: Any, expected: Any) -> None:
    call = {"id": id, "function": {"name": "weather", "arguments": arguments}}
    result = await asking.ask(openai_answer("tool_calls", tool_calls=[call]))

    assert result["tool_calls"] == [expected]
    again = [
        HAIKU[1],
        {"role": "assistant", "tool_calls": result["tool_calls"]},
        {**HAIKU[3], "tool_call_id": "call_0"},
    ]
    await asking.ask(openai_answer(content="Sun."), messages=again)
    await asking.ask(anthropic_answer(), messages=again, provider="anthropic")
    assert isinstance(asking.sent["messages"][1]["content"][0]["input"], dict)


async def test_what_is_counted_otherwise_is_unknown(asking: Asking) -> None:
    answer = json.loads(openai_answer(content="Hi."))
    answer["usage"], answer["model"] = {"prompt_tokens": "9", "completion_tokens": True}, None

    result = await asking.ask(json.dumps(answer))

    assert result["usage"] == {"input_tokens": None, "output_tokens": None}
    assert result["model"] is None


@pytest.mark.parametrize("provider", [None, "anthropic"])
@pytest.mark.parametrize("usage", ["missing", None])
async def test_a_server_that_counts_nothing_may_leave_it_out(
    asking: Asking, provider: str | None, usage: str | None
) -> None:
    answer = json.loads(openai_answer(content="Hi.") if provider is None else anthropic_answer())
    answer["usage"] = None
    if usage == "missing":
        del answer["usage"]

    result = await asking.ask(json.dumps(answer), provider=provider)

    assert result["usage"] == {"input_tokens": None, "output_tokens": None}
