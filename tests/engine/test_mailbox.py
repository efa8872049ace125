"""The mailbox of an actor: messages are taken once and in their order, and who waits for that is told in any case."""

import asyncio
from collections.abc import Sequence
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.events import ErrorValue, Logged, Step
from flowrunner.engine.mailbox import Mailbox, Message, Result

ACTS: Final = st.lists(
    st.tuples(st.sampled_from(("result", "line", "take", "lines", "close")), st.integers(0, 3)), max_size=30
)


async def play(acts: Sequence[tuple[str, int]]) -> None:
    mailbox, put = Mailbox(), list[Message]()
    taken, is_closed = list[Message](), False
    for act, number in [*acts, ("close", 0)]:
        left = [message for message in put if message not in taken]
        match act:
            case "result":
                done = asyncio.Event()
                result = Result(Step(f"n{len(put)}", 1), 1, ErrorValue(type="t", message="m"), done)
                put.append(result)
                mailbox.put(result)
            case "line" if not is_closed:
                line = Logged(level="info", message=str(len(put)))
                put.append(line)
                mailbox.put_line(line)
            case "take":
                taken += (got := list(mailbox.take(most=number or None)))
                assert got == left[: number or None]
            case "lines":
                taken += (lines := mailbox.take_lines())
                assert lines == [message for message in left if isinstance(message, Logged)]
            case "close":
                mailbox.close()
                is_closed = True
        assert len(mailbox) == len(put) - len(taken)
        for message in put:
            if isinstance(message, Result) and message.is_done is not None:
                assert message.is_done.is_set() == (is_closed or message in taken)


@given(ACTS)
def test_each_message_is_taken_once_and_its_sender_told(acts: list[tuple[str, int]]) -> None:
    asyncio.run(play(acts))
