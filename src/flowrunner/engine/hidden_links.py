"""Redaction of the links that answer approvals, together with an account's secrets."""

import msgspec

from flowrunner.domain.link_tokens import may_have_link_token, without_link_tokens
from flowrunner.domain.values import JSON
from flowrunner.ports.secrets import Redactor


class LinkHidingRedactor:
    """A redactor that hides links, too. Implements `ports.Redactor`."""

    def __init__(self, secrets: Redactor) -> None:
        self._secrets = secrets
        self.lock = secrets.lock

    def redact(self, value: JSON) -> JSON:
        return _hidden(self._secrets.redact(value))

    async def redact_soon(self, value: JSON) -> JSON:
        return _hidden(await self._secrets.redact_soon(value))

    def found_in(self, encoded: bytes) -> bool:
        return may_have_link_token(encoded) or self._secrets.found_in(encoded)


def _hidden(value: JSON) -> JSON:
    if not may_have_link_token(msgspec.json.encode(value)):
        return value
    return _without(msgspec.json.decode(msgspec.json.encode(value)))


def _without(value: JSON) -> JSON:
    match value:
        case str():
            return without_link_tokens(value)
        case dict():
            return {without_link_tokens(name): _without(item) for name, item in value.items()}
        case list():
            return [_without(item) for item in value]
        case _:
            return value
