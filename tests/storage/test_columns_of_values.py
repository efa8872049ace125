"""Stores make values of rows: each part of a value is the column of its name, and no other one."""

import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest

from flowrunner.domain.flow_tools import FlowTool
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import (
    AccountId,
    FlowId,
    JobId,
    WorkspaceId,
)  # fmt: skip
from flowrunner.ports.callbacks import CallbackId
from flowrunner.ports.hooks import HookDeliveryId
from flowrunner.ports.page import Page
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.callback_deliveries import SqlCallbackDeliveries
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.hooks import SqlHooks
from flowrunner.storage.identities import SqlIdentities
from flowrunner.storage.invitations import SqlInvitations
from flowrunner.storage.jobs import SqlJobs
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.second_factors import SqlSecondFactors
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.triggers import SqlTriggers
from flowrunner.storage.workspaces import SqlWorkspaces
from support.databases import NOON, new_database_file, open_database

ACCOUNT, WORKSPACE, FLOW, TRIGGER = (
    AccountId("account-1"),
    WorkspaceId("workspace-1"),
    FlowId("flow-1"),
    TriggerId("t-1"),
)
PAGE: Final = Page(limit=10, offset=0)
# What has no column of its own, or a form that a check demands.
GIVEN: Final[Mapping[str, Any]] = {
    "workspace_id": WORKSPACE, "account_id": ACCOUNT, "flow_id": FLOW, "trigger_id": TRIGGER, "invited_by": ACCOUNT,
    "callback_id": "callback-1", "deleted_at": None, "removed_at": None, "moving_from": None, "key_version": 1,
}  # fmt: skip
ROWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "accounts": {"id": ACCOUNT, "role": "user"},
    "workspaces": {"id": WORKSPACE},
    "members": {"role": "editor"},
    "callbacks": {"id": "callback-1", "format": "slack", "events": '["a", "b"]', "template": '{"t": 1}'},
    "callback_deliveries": {"state": "pending", "details": '{"d": 1}'},
    "hook_deliveries": {"state": "started", "request": '{"r": 1}'},
    "jobs": {"id": "job-1", "created_by": ACCOUNT, "status": "completed", "errors": "[]", "work": None},
    "api_tokens": {"scopes": '["read", "run"]'},
    "triggers": {"id": TRIGGER, "type": "webhook", "spec": "{}"},
    "invitations": {"role": "viewer"},
    "identities": {},
    "second_factors": {"type": "totp"},
    "secrets": {},
    "config_values": {"value": "[1]"},
    "flows": {"id": FLOW, "tags": '["x", "y"]', "revision_id": "revision-1", "tool_inputs": "{}"},
    "revisions": {"id": "revision-1", "created_by": ACCOUNT},
}


@dataclass(frozen=True, slots=True)
class Filled:
    """A database with a row of each table."""

    database: Database
    rows: Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Mapping[str, Any]]]:
    path = new_database_file(tmp_path_factory.mktemp("columns") / "flowrunner.db")
    numbers = itertools.count(1)
    rows: dict[str, dict[str, Any]] = {}

    def value(table: str, column: str, type: str) -> object:
        number = next(numbers)
        if column.endswith(("_at", "_until", "_since")):
            return to_ms(NOON + timedelta(days=number))
        return {"INTEGER": number, "TEXT": f"{table}-{column}", "BLOB": b"sealed"}[type]

    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table, given in ROWS.items():
            columns = connection.execute(f"SELECT name, type FROM pragma_table_info('{table}')").fetchall()
            known = {**GIVEN, **given}
            rows[table] = {name: known.get(name, ...) for name, _ in columns}
            for name, type in columns:
                if rows[table][name] is ...:
                    rows[table][name] = value(table, name, type)
            places = ", ".join("?" * len(columns))
            connection.execute(f"INSERT INTO {table} VALUES ({places})", tuple(rows[table].values()))
    return path, rows


@pytest.fixture
async def filled(file: tuple[Path, Mapping[str, Mapping[str, Any]]]) -> AsyncIterator[Filled]:
    database = open_database(file[0])
    try:
        yield Filled(database, file[1])
    finally:
        await database.close()


@dataclass(frozen=True, slots=True)
class Case:
    """A value that is read.

    Attributes:
        table: The table with the columns of its names.
        columns: Columns with other names than the parts, and what else the parts are.
    """

    table: str
    read: Callable[[Database], Awaitable[Any]]
    columns: Mapping[str, Callable[[Mapping[str, Mapping[str, Any]]], object]] = field(default_factory=dict)


async def first(read: Awaitable[Any]) -> Any:
    """Return the first entry of a page."""
    return (await read)[0][0]


async def delivery_of(read: Awaitable[Any]) -> Any:
    return (await read)[0]


async def view_of(read: Awaitable[Any]) -> Any:
    return (await read)[0].view


OF_WORKSPACE: Final = {
    "name": lambda rows: rows["workspaces"]["name"],
    "role": lambda rows: rows["members"]["role"],
    "requires_second_factor": lambda _: True,
}
OF_REVISION: Final = {"is_current": lambda _: True}
CASES: Final = {
    "account": Case(
        "accounts",
        lambda db: SqlAccounts(db).get(ACCOUNT),
        {"is_disabled": lambda _: True, "is_email_confirmed": lambda _: True},
    ),
    "callback": Case(
        "callbacks",
        lambda db: first(SqlCallbacks(db).page(WORKSPACE, page=PAGE)),
        {
            "children": lambda rows: bool(rows["callbacks"]["is_for_children"]),
            "has_flow": lambda _: True,
            "last_error": lambda rows: rows["callback_deliveries"]["error"],
        },
    ),
    "delivery of a callback": Case(
        "callback_deliveries",
        lambda db: first(SqlCallbackDeliveries(db).page(WORKSPACE, CallbackId("callback-1"), page=PAGE)),
        {"is_readable": lambda _: True},
    ),
    "delivery of a webhook": Case(
        "hook_deliveries", lambda db: first(SqlHooks(db).page(WORKSPACE, TRIGGER, page=PAGE))
    ),
    "request of a webhook": Case(
        "hook_deliveries",
        lambda db: delivery_of(SqlHooks(db).get(WORKSPACE, TRIGGER, HookDeliveryId("hook_deliveries-id"))),
    ),
    "job": Case(
        "jobs",
        lambda db: SqlJobs(db).get(WORKSPACE, JobId("job-1")),
        {"account_id": lambda rows: rows["jobs"]["created_by"]},
    ),
    "token": Case("api_tokens", lambda db: first(SqlTokens(db).page(ACCOUNT, page=PAGE))),
    "trigger": Case(
        "triggers",
        lambda db: SqlTriggers(db).get(WORKSPACE, TRIGGER),
        {
            "flow_name": lambda rows: rows["flows"]["name"],
            "flow_disabled_at": lambda rows: rows["flows"]["disabled_at"],
            "revision_id": lambda rows: rows["flows"]["revision_id"],
            "spec": lambda _: None,
            "has_open_execution": lambda _: False,
            "listens_in_vain": lambda _: True,
        },
    ),
    "invitation": Case("invitations", lambda db: first(SqlInvitations(db).page(WORKSPACE, now=NOON, page=PAGE))),
    "identity": Case("identities", lambda db: first(SqlIdentities(db).of_account(ACCOUNT))),
    "second factor": Case("second_factors", lambda db: view_of(SqlSecondFactors(db).of_account(ACCOUNT))),
    "secret": Case("secrets", lambda db: first(SqlSecrets(db).page(WORKSPACE, page=PAGE)), {"used_by": lambda _: []}),
    "configuration value": Case(
        "config_values", lambda db: first(SqlConfig(db).page(WORKSPACE, page=PAGE)), {"used_by": lambda _: []}
    ),
    "workspace": Case("workspaces", lambda db: SqlWorkspaces(db).get(ACCOUNT, WORKSPACE), OF_WORKSPACE),
    "member": Case(
        "members",
        lambda db: first(SqlWorkspaces(db).members(WORKSPACE, page=PAGE)),
        {
            "name": lambda rows: rows["accounts"]["name"],
            "email": lambda rows: rows["accounts"]["email"],
            "is_owner": lambda _: False,
            "is_email_confirmed": lambda _: True,
            "role_from": lambda _: None,
        },
    ),
    "flow": Case(
        "flows",
        lambda db: SqlFlows(db).get(WORKSPACE, FLOW),
        {
            "definition": lambda rows: rows["revisions"]["definition"],
            "revision": lambda rows: rows["revisions"]["number"],
            "saved_by": lambda rows: rows["revisions"]["created_by"],
            "triggers": lambda _: None,
            "secret_names": lambda _: (),
            "config_names": lambda _: (),
            "tool": lambda rows: FlowTool(rows["flows"]["tool_name"], "{}"),
        },
    ),
    "flow in a list": Case(
        "flows",
        lambda db: first(SqlFlows(db).page(WORKSPACE, page=PAGE)),
        {"revision": lambda rows: rows["revisions"]["number"]},
    ),
    "revision": Case("revisions", lambda db: first(SqlFlows(db).revisions(WORKSPACE, FLOW, page=PAGE)), OF_REVISION),
}


def read_as(column: object, part: object) -> object:
    """Return a column in the form of the part of a value."""
    match part:
        case datetime():
            return from_ms(cast("int", column))
        case list() | tuple() | frozenset() | dict() if isinstance(column, str):
            return type(part)(json.loads(column))
        case _:
            return column


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_each_part_of_a_value_is_the_column_of_its_name(filled: Filled, case: Case) -> None:
    found = await case.read(filled.database)

    differ = []
    for part in fields(found):
        actual = getattr(found, part.name)
        other = case.columns.get(part.name)
        stored = filled.rows[case.table][part.name] if other is None else other(filled.rows)
        if actual != read_as(stored, actual):
            differ.append((part.name, actual, stored))
    assert differ == []
