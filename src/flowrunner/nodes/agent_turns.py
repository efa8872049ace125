"""The turns of an agent: what the model has answered and its calls have returned, and what is told and kept of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from flowrunner.domain.values import left_after, memory_of
from flowrunner.language.agents import REJECTED, TOOL_NAME
from flowrunner.nodes.llm import MOST_MESSAGES
from flowrunner.plugin import JSON, NodeFailure, ScopesEnded

# Characters and elements, as `left_after` counts them: of what a tool gives to the model, and of all that the turns add
# to the conversation.
MOST_OF_A_RESULT: Final = 50_000
MOST_OF_ALL_TURNS: Final = 1_000_000
# Less than those of an event.
MOST_BYTES_OF_RESULT: Final = 1_500_000
# Less than those of the data of an error, as JSON and in memory.
MOST_BYTES_OF_ERROR: Final = 250_000
_NO_STEPS: Final[dict[str, JSON]] = {"steps": None}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool. Attributes: error: As flows read it. has_ended: It has a result or an error."""

    key: str
    id: str
    name: str
    arguments: JSON
    result: JSON
    error: JSON
    has_ended: bool

    @property
    def is_rejected(self) -> bool:
        return isinstance(self.error, Mapping) and self.error["node"] == REJECTED


@dataclass(frozen=True, slots=True)
class Turn:
    """A question. Attributes: answer: The result of the node that has asked. next_key: The scope after its calls."""

    answer: Mapping[str, Any]
    calls: Sequence[ToolCall]
    next_key: int

    @property
    def is_over(self) -> bool:
        return all(call.has_ended for call in self.calls)


def turns_of(event: ScopesEnded) -> list[Turn]:
    """Return the turns that the model has answered. The scope of a question is followed by those of its calls."""
    details: Any = event.details or {}
    # The first scopes list the tools of MCP servers.
    turns, key = [], len(details.get("servers", ()))
    ids: set[str] = set()
    while str(key) in event.results:
        found = event.results[str(key)]
        # In a test of a flow, a mock may have given anything.
        answer: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        calls = list(_calls_of(answer, event, key + 1, ids))
        key += 1 + len(calls)
        turns.append(Turn(answer, calls, key))
    return turns


def _calls_of(answer: Mapping[str, Any], event: ScopesEnded, first: int, ids: set[str]) -> Iterator[ToolCall]:
    """Yield the calls that an answer asks for. Args: ids: Those of earlier calls, to which these are added."""
    written = answer.get("tool_calls")
    for place, call in enumerate(written if isinstance(written, list) else ()):
        given: Mapping[str, Any] = call if isinstance(call, Mapping) else {}
        key = str(first + place)
        id = str(given.get("id") or "")[:200]
        # Servers that number the calls of each answer, or give no ids, must find the result of each call.
        if not id or id in ids:
            id = f"call-{key}"
        ids.add(id)
        yield ToolCall(
            key=key,
            id=id,
            name=str(given.get("name", ""))[:200],
            arguments=given.get("arguments", {}),
            result=event.results.get(key),
            error=event.errors.get(key),
            has_ended=key in event.results or key in event.errors,
        )


# The conversation


def conversation_of(params: Mapping[str, Any], turns: Sequence[Turn]) -> list[JSON]:
    """Return the messages of the next question. Raises: NodeFailure if they are too long together."""
    written = params.get("messages")
    first = written if isinstance(written, list) else [{"role": "user", "content": params.get("prompt")}]
    messages = [*first, *_messages(turns)]
    if len(messages) > MOST_MESSAGES:
        raise NodeFailure(
            "agent.too_long", f"The conversation has {len(messages)} messages; the most is {MOST_MESSAGES}"
        )
    return messages


def _messages(turns: Sequence[Turn]) -> list[JSON]:
    """Return what the turns have added to the conversation. Raises: NodeFailure."""
    messages: list[JSON] = []
    left = MOST_OF_ALL_TURNS
    for turn in turns:
        added = list(_messages_of(turn))
        left = left_after(added, left)
        if left < 0:
            message = f"The answers and the results of tools have more than {MOST_OF_ALL_TURNS} characters together"
            raise NodeFailure("agent.too_long", f"{message}: let tools return less with 'output'")
        messages += added
    return messages


def _messages_of(turn: Turn) -> Iterator[JSON]:
    answer: dict[str, JSON] = {"role": "assistant", "content": turn.answer.get("content")}
    if turn.calls:
        # Servers reject names that no tool can have, which a model may make up.
        names = [call.name if TOOL_NAME.fullmatch(call.name) else "unknown" for call in turn.calls]
        answer["tool_calls"] = [
            {"id": call.id, "name": name, "arguments": call.arguments}
            for call, name in zip(turn.calls, names, strict=True)
        ]
    elif answer["content"] is None:
        answer["content"] = msgspec.json.encode(turn.answer.get("structured")).decode()
    yield answer
    for call in turn.calls:
        if call.has_ended:
            yield {"role": "tool", "tool_call_id": call.id, "content": _told(call)}


def _told(call: ToolCall) -> str:
    """Return what the model reads of a call."""
    value = call.result
    if isinstance(call.error, Mapping):
        error: dict[str, JSON] = {"type": call.error["type"], "message": call.error["message"]}
        data = call.error.get("data")
        # What a server says about its error may help the model. The rest, such as headers, does not.
        if isinstance(data, Mapping) and data.get("body") is not None:
            error["body"] = data["body"]
        value = {"error": error}
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= MOST_OF_A_RESULT:
        return text
    return f"{text[:MOST_OF_A_RESULT]}\n(cut off: these are the first {MOST_OF_A_RESULT} of {len(text)} characters)"


# The result


def result_of(turns: Sequence[Turn]) -> JSON:
    last = turns[-1].answer
    result: dict[str, JSON] = {
        **{key: last.get(key) for key in ("content", "structured", "finish_reason")},
        "turns": len(turns),
        "steps": _steps(turns),
        "messages": None,
        "usage": usage_of(turns),
        "model": last.get("model"),
    }
    # An answer must not be lost because of what has led to it. All of that is in the steps of the execution, too.
    with suppress(NodeFailure):
        result["messages"] = _messages(turns)
    shorter: Sequence[dict[str, JSON]] = ({"messages": None}, {"steps": _steps(turns, has_arguments=False)}, _NO_STEPS)
    return _fitting(result, shorter, lambda value: len(msgspec.json.encode(value)) <= MOST_BYTES_OF_RESULT)


def error_data_of(turns: Sequence[Turn]) -> JSON:
    """Return the data of the error after the last turn."""
    data: dict[str, JSON] = {
        "turns": len(turns),
        "content": turns[-1].answer.get("content"),
        "steps": _steps(turns),
        "usage": usage_of(turns),
    }
    shorter: Sequence[dict[str, JSON]] = ({"steps": _steps(turns, has_arguments=False)}, _NO_STEPS, {"content": None})
    return _fitting(data, shorter, _fits_an_error)


def _fits_an_error(data: JSON) -> bool:
    return max(len(msgspec.json.encode(data)), memory_of(data)) <= MOST_BYTES_OF_ERROR


def _fitting(value: dict[str, JSON], shorter: Sequence[dict[str, JSON]], fits: Callable[[JSON], bool]) -> JSON:
    """Return a value with as many of the shorter members as it needs to fit."""
    for members in shorter:
        if fits(value):
            break
        value |= members
    return value


def _steps(turns: Sequence[Turn], *, has_arguments: bool = True) -> JSON:
    return [
        {
            "turn": number,
            "tool": call.name,
            "arguments": call.arguments if has_arguments else None,
            "error": _short(call.error),
        }
        for number, turn in enumerate(turns, 1)
        for call in turn.calls
        if call.has_ended
    ]


def _short(error: JSON) -> JSON:
    return {"type": error["type"], "message": error["message"]} if isinstance(error, Mapping) else None


def usage_of(turns: Sequence[Turn]) -> JSON:
    total: dict[str, JSON] = {}
    for name in ("input_tokens", "output_tokens"):
        counts = [usage.get(name) for turn in turns if isinstance(usage := turn.answer.get("usage"), Mapping)]
        known = [count for count in counts if type(count) is int]
        total[name] = sum(known) if known else None
    return total
