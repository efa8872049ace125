"""One call of an agent: its caller, the requests that it makes, and its entry in the audit log."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request

from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.rate_headers import count
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.manual import Manual
from flowrunner.api.mcp.inner_requests import InnerRequests
from flowrunner.domain.account import Caller, Right, authorise

# Only ids are written to the audit log: of what else a client may send as one, it keeps nothing.
_IDS: Final[Mapping[str, re.Pattern[str]]] = {
    "flow_id": re.compile(r"flow-[0-9a-z]{36}"),
    "execution_id": re.compile(r"exec-[0-9a-z]{36}"),
}


@dataclass(frozen=True, slots=True)
class AgentCall:
    """A call of a tool, or of a resource.

    Attributes:
        request: The request to `/mcp`.
        api: Makes requests to the REST API.
        manual: The documentation.
    """

    request: Request
    api: InnerRequests
    manual: Manual

    @property
    def caller(self) -> Caller:
        return caller_of(self.request)

    async def admit(self, kind: str, name: str, rights: Iterable[Right], arguments: Mapping[str, Any]) -> None:
        """Check the rights of the caller, count the call and record it.

        Args:
            kind: A tool, or a resource.

        Raises: Forbidden, TooManyRequests, Unavailable.
        """
        services, caller = services_of(self.request), self.caller
        for right in rights:
            authorise(caller, right)
        # Each call adds an audit entry.
        count(self.request.scope, services.rates.change(caller.account_id))
        ids = {
            key: value
            for key, pattern in _IDS.items()
            if isinstance(value := arguments.get(key), str) and pattern.fullmatch(value)
        }
        await services.audit.called(caller, kind, name, ids)


async def manual_of(request: Request) -> Manual:
    """Return the documentation, which the first call reads."""
    return await state_of(request).manual.get(_read_manual)


async def _read_manual() -> Manual:
    return await asyncio.to_thread(Manual)
