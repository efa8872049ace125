"""Work whose length others choose: on the event loop if it is short, otherwise on a thread."""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from flowrunner.domain.expression import MAX_RENDERED, NO_VALUES, Scope, Template, TooMuchFilledIn, Values, render
from flowrunner.domain.values import JSON

P = ParamSpec("P")
T = TypeVar("T")

# Bytes of a text that is parsed or written on the event loop, in a millisecond or two.
LONG_BYTES: Final = 64 * 1024
# Characters and elements that are rendered on the event loop, as `left_after` counts them: a few milliseconds.
_SHORT_RENDERING: Final = 128 * 1024


async def on_thread_if(size: int, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call, which runs on a thread if it works on more than `LONG_BYTES`."""
    if size <= LONG_BYTES:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)


async def render_soon(
    template: Template, scope: Scope, values: Values = NO_VALUES, *, most: int = MAX_RENDERED
) -> JSON:
    """Return the value of a template, rendered on a thread if it is long.

    Args and Raises: as `render`.
    """
    try:
        return render(template, scope, values, most=min(most, _SHORT_RENDERING))
    except TooMuchFilledIn:
        if most <= _SHORT_RENDERING:
            raise
    return await asyncio.to_thread(render, template, scope, values, most=most)
