"""The use cases on a real database, with the clock made by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.schemas import RustSchemas
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.usage import SqlUsage
from support.databases import MARA, NOON
from support.dependencies import Machine, machine
from support.flows import specs

from .callers import caller_of
from .office import Office, office_at


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path / "flowrunner.db") as opened:
        yield opened


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with office_at(tmp_path / "flowrunner.db") as opened:
        yield opened


@pytest.fixture
def mara() -> Caller:
    """The admin that every database of these tests begins with."""
    return Caller(account_id=MARA, role="admin", credential=Session(SessionId("s-mara"), NOON), expires_at=NOON)


@pytest.fixture
def omar() -> Caller:
    return caller_of(AccountId("account-omar"))


@pytest.fixture
def language(engine: Machine) -> Language:
    return Language(specs(), RustSchemas(), engine.world.sandbox)


@pytest.fixture
def flows(engine: Machine, language: Language) -> Flows:
    return Flows(
        SqlFlows(engine.database), SqlSecrets(engine.database), language, engine.clock,
        usage=SqlUsage(engine.database), limits=UNLIMITED,
    )  # fmt: skip
