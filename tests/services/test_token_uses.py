"""The last use of API tokens on a server that cannot write."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import AccountId, TokenId
from flowrunner.ports.page import Page
from flowrunner.ports.tokens import TokenView
from flowrunner.services.tokens import Tokens, TokenUses
from support.databases import MARA_ACCOUNT, NOON

from .callers import caller_of


class OnlyRead:
    """The store of a standby server, which rejects writes."""

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None:
        raise Unavailable("Another server is active on this database")

    async def page(self, account_id: AccountId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        return [TokenView(id=TokenId("t"), account_id=account_id, name="CI", scopes=["read"], created_at=NOON)], 1


async def test_tokens_are_listed_even_if_their_uses_cannot_be_written() -> None:
    store: Any = OnlyRead()
    uses = TokenUses(store.note_uses)
    tokens = Tokens(store, uses, clock=Any, on_end=Any)  # type: ignore[arg-type] # neither is asked
    uses.note(TokenId("t"), NOON)

    page, total = await tokens.page(caller_of(MARA_ACCOUNT), page=Page(limit=10, offset=0))

    assert ([token.name for token in page], total) == (["CI"], 1)
