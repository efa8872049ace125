"""The services on a real database, with a manual clock."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.schemas import RustSchemas
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.usage import SqlUsage
from support.databases import MARA_ACCOUNT, NOON
from support.dependencies import Machine, machine
from support.flows import specs

from .account_services import AccountServices, open_account_services
from .callers import caller_of


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path / "flowrunner.db") as opened:
        yield opened


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[AccountServices]:
    async with open_account_services(tmp_path / "flowrunner.db") as opened:
        yield opened


@pytest.fixture
def mara() -> Caller:
    """Return the admin that every database of these tests contains."""
    return Caller(account_id=MARA_ACCOUNT, role="admin", credential=Session(SessionId("s-mara"), NOON), expires_at=NOON)


@pytest.fixture
def omar() -> Caller:
    return caller_of(AccountId("account-omar"))


@pytest.fixture
def language(engine: Machine) -> Language:
    return Language(specs(), RustSchemas(), engine.deps.sandbox)


@pytest.fixture
def flows(engine: Machine, language: Language) -> Flows:
    return Flows(
        SqlFlows(engine.database), SqlSecrets(engine.database), SqlConfig(engine.database), language, engine.clock,
        usage=SqlUsage(engine.database), limits=UNLIMITED,
    )  # fmt: skip
