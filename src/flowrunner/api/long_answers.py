"""Answers that take long to send, and end when their caller loses the right to them."""

from collections.abc import AsyncIterator
from typing import TypeVar

from fastapi import Request

from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.errors import AnswerCutOff
from flowrunner.api.http.routing import ADMITTED_AT, ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right

T = TypeVar("T")


async def while_allowed(request: Request, portions: AsyncIterator[T]) -> AsyncIterator[T]:
    """Return the portions of an answer, which end early once the caller lacks the right that the route requires.

    Raises: Unauthorized if the login or the API token has ended already.
    """
    route: ProtectedRoute = request.scope["route"]
    family = await services_of(request).sessions.family_of(caller_of(request))
    return _while_allowed(request, route.right, family, portions)


async def _while_allowed(request: Request, right: Right, family: str, portions: AsyncIterator[T]) -> AsyncIterator[T]:
    """Raises: AnswerCutOff."""
    services, place = services_of(request), caller_of(request).workspace_id
    seen: int = request.scope[ADMITTED_AT]
    async for portion in portions:
        # A reader may be slow, so that much is read after its access has ended.
        if seen != (changes := services.known_callers.changes):
            present = await services.sessions.present(family)
            if present is None or place not in present.admitted_to or right not in present.acting_in(place).rights:
                raise AnswerCutOff
            seen = changes
        yield portion
