"""Node type `llm`: ask a language model by the API of OpenAI, which most servers of models have, or of Anthropic."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from flowrunner.domain.cut_texts import beginning
from flowrunner.domain.errors import quoted
from flowrunner.language.agents import ANSWER
from flowrunner.nodes.checks import checked
from flowrunner.nodes.http import ERRORS, is_long_value, json_body, send, url_faults
from flowrunner.nodes.http_answers import UNREADABLE, json_of, read_body
from flowrunner.plugin import JSON, HttpAnswer, NodeFailure, NodeType, ParamFault, Params, StepContext

MOST_MESSAGES: Final = 1000
MOST_TOOLS: Final = 128
# Anthropic asks for a limit in each request. Every model of it allows this one.
_MAX_TOKENS: Final = 4096
_MOST_FAULTS: Final = 5
_ANTHROPIC_VERSION: Final = "2023-06-01"
_OPENAI_URL: Final = "https://api.openai.com/v1"
_ANTHROPIC_URL: Final = "https://api.anthropic.com/v1"
_MOST_OF_A_MESSAGE: Final = 2000
_TEMPLATES: Final = frozenset({"template", "variables", "prompt_template", "input_variables"})
_FINISHED: Final = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(("content_filter", "refusal"), "refused"),
}


class LlmToolCall(Params):
    id: str = Field(min_length=1, max_length=200)
    name: str = Field(min_length=1, max_length=200)
    arguments: dict[str, Any] | str = Field(default={}, description="As `tool_calls` of a result have them.")


class LlmMessage(Params):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Any] | None = Field(default=None, description="Text, or parts in the form of the provider.")
    tool_calls: list[LlmToolCall] = Field(default=[], max_length=MOST_TOOLS, description="Calls of the assistant.")
    tool_call_id: str | None = Field(default=None, description="The call that a message of a tool answers.")

    @model_validator(mode="after")
    def _of_its_role(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise ValueError("give 'content'")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("'tool_calls' are those of an assistant")
        if (self.tool_call_id is None) == (self.role == "tool"):
            raise ValueError("give 'tool_call_id' with the role 'tool', and with no other")
        return self


class LlmTool(Params):
    name: str = Field(min_length=1, max_length=64)
    description: str | None = Field(default=None, description="By which the model decides whether to call it.")
    parameters: dict[str, Any] = Field(default={"type": "object"}, description="JSON Schema of its arguments.")


def _check_base_url(text: str) -> None:
    if "?" in text or "#" in text:
        raise ValueError("must have no query and no fragment")
    if text.rstrip("/").endswith((_OpenAi.path, _Anthropic.path)):
        raise ValueError("must end before the name of the operation, such as https://llm.example.com/v1")


class ModelParams(Params):
    """The parameters of a question to a model, without tools."""

    provider: Literal["openai", "anthropic"] | None = Field(default=None, description="openai if `base_url` is given.")
    base_url: Annotated[str, Field(min_length=1, max_length=8192), checked(_check_base_url)] | None = Field(
        default=None, description="Of another server with the same API, with its /v1."
    )
    api_key: str | None = Field(default=None, min_length=1, max_length=10_000)
    model: str = Field(min_length=1, max_length=200)
    system: str | None = Field(default=None, description="Instructions, before the messages.")
    prompt: str | None = Field(default=None, description="One message of a user, instead of `messages`.")
    messages: list[LlmMessage] | None = Field(default=None, min_length=1, max_length=MOST_MESSAGES)
    temperature: float | int | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, description="Of the answer; 4096 for anthropic if absent.")
    response_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema of the answer, an object.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.provider is None and self.base_url is None:
            raise ValueError("give 'provider' (openai or anthropic), or 'base_url' of a server with the API of OpenAI")
        if self.base_url is None and self.api_key is None:
            raise ValueError("give 'api_key', as a secret: ${secrets.LLM_KEY}")
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either 'prompt' or 'messages'")
        return self


def with_hints(faults: Sequence[ParamFault]) -> list[ParamFault]:
    """Return faults with the word of this language for those of other systems."""
    return [
        replace(fault, hint="write 'prompt', with ${…} where the values go")
        if fault.code == "unknown_key" and fault.keys[-1] in _TEMPLATES
        else fault
        for fault in faults
    ]


class LlmParams(ModelParams):
    tools: list[LlmTool] = Field(default=[], max_length=MOST_TOOLS, description="That the model may ask to be called.")

    @model_validator(mode="after")
    def _with_names(self) -> Self:
        names = Counter(tool.name for tool in self.tools)
        if self.response_schema is not None:
            names[ANSWER] += 1
        for name, count in names.items():
            if count > 1:
                raise ValueError(f"the name {quoted(name)} is that of another tool, or of the answer")
        return self

    def is_long(self) -> bool:
        """Return whether the request may be long: see `is_long_value`."""
        messages = [
            [message.content, [call.arguments for call in message.tool_calls]] for message in self.conversation()
        ]
        return is_long_value([self.system, messages, [tool.parameters for tool in self.tools], self.response_schema])

    def conversation(self) -> Sequence[LlmMessage]:
        return self.messages if self.messages is not None else [LlmMessage(role="user", content=self.prompt)]


class Llm(NodeType[LlmParams]):
    """Asks a language model."""

    type = "llm"
    examples = (
        "type: llm\nparams:\n  provider: anthropic\n  api_key: ${secrets.LLM_KEY}\n  model: claude-sonnet-4-5\n"
        "  prompt: 'Summarize in one sentence: ${input.text}'\nretry: {max: 4}\noutput: ${result.content}\n",
        "type: llm\nparams:\n  provider: openai\n  api_key: ${secrets.LLM_KEY}\n  model: gpt-4o-mini\n"
        "  system: You sort requests of customers.\n  prompt: ${input.text}\n  response_schema:\n    type: object\n"
        "    properties: {topic: {enum: [invoice, delivery, other]}}\n    required: [topic]\n"
        "    additionalProperties: false\noutput: ${result.structured.topic}\n",
    )
    Params = LlmParams
    keeps_params = True
    errors: ClassVar[tuple[str, ...]] = (*ERRORS, "llm")
    timeout_seconds = 120.0
    result_keys = ("content", "structured", "tool_calls", "finish_reason", "usage", "model")
    schemas: ClassVar[tuple[str, ...]] = ("response_schema",)

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        return True

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return [*with_hints(super().check(params)), *url_faults(params, "base_url")]

    async def run(self, params: LlmParams, context: StepContext) -> JSON:
        if params.response_schema is not None:
            # Before the answer, which costs.
            await _faults_of({}, params.response_schema, context)
        api = _Anthropic if params.provider == "anthropic" else _OpenAi
        try:
            answer: Any = await send(
                context,
                method="POST",
                url=(params.base_url or api.url).rstrip("/") + api.path,
                write=lambda: json_body(api.request(params), api.headers(params)),
                is_long=params.is_long(),
                read=partial(_result, api.read, has_form=params.response_schema is not None),
                said="Request to the model",
            )
        except NodeFailure as failure:
            if not failure.type.startswith("http.") or not isinstance(failure.data, Mapping):
                raise
            # Such as that the conversation is too long for the model.
            message = f"{failure.message}{_words_of(failure.data.get('body'))}"
            raise NodeFailure(failure.type, message, data=failure.data, retry_after=failure.retry_after) from None
        result: Any = answer["body"]
        if params.response_schema is not None and result["structured"] is not None:
            await _check_form(result, params.response_schema, context)
        found: JSON = result
        return found


class _OpenAi:
    """Chat completions: https://platform.openai.com/docs/api-reference/chat."""

    url: Final = _OPENAI_URL
    path: Final = "/chat/completions"

    @staticmethod
    def headers(params: LlmParams) -> Mapping[str, str]:
        return {} if params.api_key is None else {"Authorization": f"Bearer {params.api_key}"}

    @staticmethod
    def request(params: LlmParams) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        if params.system is not None:
            messages.append({"role": "system", "content": params.system})
        for message in params.conversation():
            written: dict[str, Any] = {"role": message.role, "content": message.content}
            if message.tool_calls:
                written["tool_calls"] = [
                    {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": _as_text(c.arguments)}}
                    for c in message.tool_calls
                ]
            if message.tool_call_id is not None:
                written["tool_call_id"] = message.tool_call_id
            messages.append(written)
        request: dict[str, Any] = {"model": params.model, "messages": messages}
        if params.temperature is not None:
            request["temperature"] = params.temperature
        if params.max_tokens is not None:
            # Newer models of OpenAI refuse the old name, which is the only one that other servers know.
            request["max_tokens" if params.base_url else "max_completion_tokens"] = params.max_tokens
        if params.tools:
            request["tools"] = [
                {"type": "function", "function": tool.model_dump(exclude_none=True)} for tool in params.tools
            ]
        if params.response_schema is not None:
            form = {"name": ANSWER, "schema": params.response_schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        return request

    @staticmethod
    def read(answer: Any) -> dict[str, JSON]:
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        reason = _FINISHED.get(choice.get("finish_reason"), "stop")
        # Some filters take the message away.
        message = (choice.get("message") or {}) if reason == "refused" else choice["message"]
        refusal = message.get("refusal")
        calls = [
            _call(number, call.get("id"), call["function"]["name"], call["function"].get("arguments"))
            for number, call in enumerate(message.get("tool_calls") or ())
        ]
        return {
            "content": _text(refusal or message.get("content")),
            "tool_calls": calls,
            "finish_reason": "refused" if refusal else reason,
            "usage": _usage(usage.get("prompt_tokens"), usage.get("completion_tokens")),
            "model": _text(answer.get("model")),
        }


class _Anthropic:
    """Messages: https://docs.anthropic.com/en/api/messages."""

    url: Final = _ANTHROPIC_URL
    path: Final = "/messages"

    @staticmethod
    def headers(params: LlmParams) -> Mapping[str, str]:
        version = {"anthropic-version": _ANTHROPIC_VERSION}
        return version if params.api_key is None else {**version, "x-api-key": params.api_key}

    @staticmethod
    def request(params: LlmParams) -> dict[str, Any]:
        conversation = params.conversation()
        system = [] if params.system is None else [{"type": "text", "text": params.system}]
        for message in conversation:
            if message.role == "system":
                system += _blocks(message.content)
        request: dict[str, Any] = {
            "model": params.model,
            "max_tokens": params.max_tokens or _MAX_TOKENS,
            "messages": [_turn(message) for message in conversation if message.role != "system"],
        }
        if system:
            request["system"] = system
        if params.temperature is not None:
            request["temperature"] = params.temperature
        tools = [
            {**tool.model_dump(include={"name", "description"}, exclude_none=True), "input_schema": tool.parameters}
            for tool in params.tools
        ]
        if params.response_schema is not None:
            tools.append({"name": ANSWER, "description": "Gives the answer.", "input_schema": params.response_schema})
            request["tool_choice"] = {"type": "any"} if params.tools else {"type": "tool", "name": ANSWER}
        if tools:
            request["tools"] = tools
        return request

    @staticmethod
    def read(answer: Any) -> dict[str, JSON]:
        blocks, usage = answer["content"], answer.get("usage") or {}
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        uses = [block for block in blocks if block["type"] == "tool_use"]
        calls = [_call(number, use.get("id"), use["name"], use.get("input")) for number, use in enumerate(uses)]
        return {
            "content": "".join(texts) if texts else None,
            "tool_calls": calls,
            "finish_reason": _FINISHED.get(answer.get("stop_reason"), "stop"),
            "usage": _usage(usage.get("input_tokens"), usage.get("output_tokens")),
            "model": _text(answer.get("model")),
        }


def _turn(message: LlmMessage) -> dict[str, Any]:
    if message.role == "tool":
        block = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
        return {"role": "user", "content": [block]}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    uses = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _as_object(call.arguments)}
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": [*_blocks(message.content), *uses]}


def _blocks(content: str | list[Any] | None) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _result(read: Callable[[Any], dict[str, JSON]], answer: HttpAnswer, *, has_form: bool) -> JSON:
    """Return the result of the node. Raises: NodeFailure if the answer is none of a model, or not of the form."""
    body = _body_of(answer)
    try:
        result: dict[str, Any] = {"content": None, "structured": None, **read(body)}
    except (LookupError, TypeError, AttributeError):
        why = f"is not that of {_EXPECTED}"
        if isinstance(body, Mapping) and body.get("choices") == []:
            why = "has no choices, so that the model has said nothing"
        raise NodeFailure("llm.invalid_answer", f"The answer from {answer.url} {why}", data={"body": body}) from None
    # Some servers say that they have stopped.
    if result["tool_calls"] and result["finish_reason"] == "stop":
        result["finish_reason"] = "tool_calls"
    if has_form:
        _structure(result)
    return result


_EXPECTED: Final = "a language model with this API"


def _body_of(answer: HttpAnswer) -> Any:
    """Return the body of an answer. Raises: NodeFailure if it is not JSON, or tells an error in place of an answer."""
    try:
        body: Any = read_body(answer, "json")
    except NodeFailure as failure:
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        why = "a stream of events, which was not asked for" if is_stream else f"no JSON, and not that of {_EXPECTED}"
        message = f"The answer from {answer.url} is {why}"
        raise NodeFailure("llm.invalid_answer", message, data=failure.data) from None
    # Servers that pass questions on to others answer with 200 before they know how it ends.
    choices = body.get("choices") if isinstance(body, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    for part in (body, first):
        if isinstance(part, Mapping) and (part.get("error") or part.get("finish_reason") == "error"):
            message = f"The server of the model reports an error{_words_of(part)}"
            raise NodeFailure("llm.error", message, data={"body": body})
    return body


def _words_of(body: JSON) -> str:
    """Return what a server says about an error, as the end of a message; empty if it says nothing that is known."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    said = error.get("message") if isinstance(error, Mapping) else error
    return f": {quoted(said, most=_MOST_OF_A_MESSAGE)}" if isinstance(said, str) and said else ""


def _call(number: int, id: JSON, name: JSON, arguments: JSON) -> JSON:
    """Return a call as a later question can have it. Raises: TypeError."""
    if not isinstance(name, str) or not name:
        raise TypeError(name)
    found = _decoded(arguments) if arguments else {}
    given = found if isinstance(found, dict) else _as_text(arguments)
    return {"id": id if isinstance(id, str) and id else f"call_{number}", "name": name, "arguments": given}


def _text(value: JSON) -> str | None:
    """Raises: TypeError."""
    if not isinstance(value, str | None):
        raise TypeError(value)
    return value


def _usage(sent: JSON, received: JSON) -> JSON:
    counts = {"input_tokens": sent, "output_tokens": received}
    return {name: count if type(count) is int else None for name, count in counts.items()}


def _structure(result: dict[str, Any]) -> None:
    """Move the answer of the given form to `structured`. Raises: NodeFailure if there is none."""
    calls = [call for call in result["tool_calls"] if call["name"] != ANSWER]
    answers = [call["arguments"] for call in result["tool_calls"] if call["name"] == ANSWER]
    reason = result["finish_reason"]
    if answers and reason != "length":
        reason = "tool_calls" if calls else "stop"
        result.update(structured=answers[0], tool_calls=calls, finish_reason=reason)
    elif reason == "tool_calls":
        return
    else:
        result["structured"] = _decoded(result["content"])
    if reason == "refused":
        raise NodeFailure("llm.refused", "The model has refused to answer", data=result)
    if reason == "length":
        raise NodeFailure("llm.too_long", "The answer was cut off: raise 'max_tokens'", data=result)
    if not isinstance(result["structured"], dict):
        raise NodeFailure("llm.invalid_answer", "The answer is no JSON object, as 'response_schema' asks", data=result)


async def _check_form(result: dict[str, Any], schema: Mapping[str, JSON], context: StepContext) -> None:
    """Raises: NodeFailure, with the answer in its data, if that does not fit the schema."""
    if faults := await _faults_of(result["structured"], schema, context, data=result):
        shown = beginning("; ".join(faults[:_MOST_FAULTS]), _MOST_OF_A_MESSAGE)
        raise NodeFailure("llm.schema", f"The answer does not fit 'response_schema': {shown}", data=result)


async def _faults_of(
    value: JSON, schema: Mapping[str, JSON], context: StepContext, *, data: JSON = None
) -> Sequence[str]:
    """Raises: NodeFailure, with ``data``, if the schema cannot be read, or the value not be checked."""
    try:
        return await context.check(value, schema)
    except ValueError as error:
        raise NodeFailure("input.invalid", f"'response_schema' cannot be read: {error}", data=data) from None


def _decoded(text: JSON) -> JSON:
    """Return the value of a text of JSON, and anything else unchanged."""
    if not isinstance(text, str):
        return text
    try:
        return json_of(text)
    except UNREADABLE:
        return text


def _as_object(arguments: JSON) -> JSON:
    found = _decoded(arguments)
    return found if isinstance(found, dict) else {"text": arguments}


def _as_text(arguments: JSON) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
