"""What a model reads of the calls of an agent."""

from typing import Any

import pytest

from flowrunner.nodes.agent_turns import MOST_OF_A_RESULT, ToolCall, Turn, _told, result_of

LONG = "x" * MOST_OF_A_RESULT


@pytest.mark.parametrize(
    ("result", "error", "told"),
    [
        ("text", None, "text"), ({"a": [1]}, None, '{"a":[1]}'), (None, None, "null"), (LONG, None, LONG),
        (f"{LONG}y", None, f"{LONG}\n(cut off: these are the first 50000 of 50001 characters)"),
        # Headers of an answer, for example, are not for the model.
        (
            None,
            {"type": "http.404", "message": "no", "node": "n", "data": {"body": {"why": 1}, "headers": {"a": "s"}}},
            '{"error":{"type":"http.404","message":"no","body":{"why":1}}}',
        ),
        (
            None,
            {"type": "timeout", "message": "late", "node": "n", "data": {"body": None}},
            '{"error":{"type":"timeout","message":"late"}}',
        ),
        (None, {"type": "t", "message": "m", "node": "n", "data": "x"}, '{"error":{"type":"t","message":"m"}}'),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_call_is_told_by_its_result_or_the_words_of_its_error(result: Any, error: Any, told: str) -> None:
    call = ToolCall(key="1", id="c", name="n", arguments={}, result=result, error=error, has_ended=True)

    assert _told(call) == told


def test_the_result_is_that_of_the_last_question_with_what_all_of_them_took() -> None:
    call = ToolCall(key="1", id="c", name="n", arguments={"q": 1}, result=7, error=None, has_ended=True)

    def answer(model: str, **more: Any) -> dict[str, Any]:
        usage = {"input_tokens": 2, "output_tokens": 3}
        return {"content": model, "structured": None, "finish_reason": "stop", "usage": usage, "model": model, **more}

    first = Turn(answer=answer("small"), calls=[call], next_key=2)
    last = Turn(answer=answer("large", structured={"a": 1}, usage={"input_tokens": 5}), calls=[], next_key=3)

    result: Any = result_of([first, last])

    assert (result["content"], result["structured"], result["model"]) == ("large", {"a": 1}, "large")
    assert (result["turns"], result["usage"]) == (2, {"input_tokens": 7, "output_tokens": 3})
    assert result["steps"] == [{"turn": 1, "tool": "n", "arguments": {"q": 1}, "error": None}]
