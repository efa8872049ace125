"""The configuration values of workspaces, as JSON."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.config import MAX_CHARACTERS, MAX_VALUES, NO_CONFIG
from flowrunner.domain.errors import LimitReached
from flowrunner.domain.limits import check_count
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.config import Check, ConfigView
from flowrunner.ports.flows import FlowName
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.secrets import WORKSPACE_EXISTS, users_of
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, listed, one_row

SAVE: Final = """
INSERT INTO config_values (workspace_id, name, value, edition, created_at, updated_at)
VALUES (:workspace_id, :name, :value, 1, :at, :at)
    ON CONFLICT (workspace_id, name) DO UPDATE
   SET value = :value, edition = config_values.edition + 1, updated_at = :at
RETURNING name, value, created_at, updated_at, edition
"""
GET: Final = """
SELECT name, value, created_at, updated_at, edition FROM config_values
 WHERE workspace_id = :workspace_id AND name = :name
"""
PAGE: Final = """
SELECT name, value, created_at, updated_at, edition FROM config_values
 WHERE workspace_id = :workspace_id AND name > :after ORDER BY name LIMIT :limit OFFSET :offset
"""
COUNT: Final = "SELECT count(*) FROM config_values WHERE workspace_id = :workspace_id"
OTHERS: Final = """
SELECT count(*), coalesce(sum(length(value)), 0) FROM config_values
 WHERE workspace_id = :workspace_id AND name <> :name
"""
DELETE: Final = "DELETE FROM config_values WHERE workspace_id = :workspace_id AND name = :name"
NAMES: Final = "SELECT name FROM config_values WHERE workspace_id = :workspace_id"
# A workspace may have many values, so only the wanted ones are read.
VALUES: Final = Statement.with_texts(
    "SELECT name, value FROM config_values WHERE workspace_id = :workspace_id AND name IN (:names)", "names"
)
# Uses an index of the flows that name values, and reads no definition.
USERS: Final = """
SELECT config_names, id, name FROM flows
 WHERE workspace_id = :workspace_id AND deleted_at IS NULL AND config_names <> '' ORDER BY id
"""


class SqlConfig:
    """Implements `ports.ConfigStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def values(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, JSON]:
        # Most flows name none.
        if not names:
            return NO_CONFIG
        values = {"workspace_id": workspace_id, "names": listed(names)}
        rows = await self._database.read(lambda tx: tx.rows(VALUES, values))
        return {name: decode_json(value) for name, value in rows}

    async def save(
        self, workspace_id: WorkspaceId, name: str, value: JSON, *, at: datetime, check: Check, audit: Audit = None
    ) -> tuple[ConfigView, bool]:
        encoded = msgspec.json.encode(value).decode()
        values = {"workspace_id": workspace_id, "name": name, "value": encoded, "at": to_ms(at)}

        async def save(tx: Transaction) -> tuple[ConfigView, bool]:
            await existing_row(tx, WORKSPACE_EXISTS, values, "workspace")
            before = await tx.row(GET, values)
            check(None if before is None else _view(before))
            count, size = await one_row(tx, OTHERS, values)
            if before is None:
                check_count("configuration values", count, MAX_VALUES, limit="config_values")
            if size + len(encoded) > MAX_CHARACTERS:
                message = (
                    f"The configuration of a workspace has at most {MAX_CHARACTERS} characters of JSON. Delete values "
                    "that no flow reads, or pass large ones as input"
                )
                raise LimitReached(message, limit="config_characters", most=MAX_CHARACTERS)
            return _view(await one_row(tx, SAVE, values)), before is None

        return await self._database.write(save, audit=audit)

    async def delete(self, workspace_id: WorkspaceId, name: str, *, check: Check, audit: Audit = None) -> None:
        values = {"workspace_id": workspace_id, "name": name}

        async def delete(tx: Transaction) -> None:
            row = await existing_row(tx, GET, values, "configuration value")
            check(_view(row))
            await tx.run(DELETE, values)

        await self._database.write(delete, audit=audit)

    async def get(self, workspace_id: WorkspaceId, name: str) -> ConfigView:
        values = {"workspace_id": workspace_id, "name": name}
        row = await self._database.read(lambda tx: existing_row(tx, GET, values, "configuration value"))
        return _view(row)

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[ConfigView], int]:
        values = {"workspace_id": workspace_id, "after": page.after}

        async def read(tx: Transaction) -> tuple[Sequence[ConfigView], int]:
            rows, total = await page_and_total(tx, page, PAGE, COUNT, values)
            users = await users_of(tx, USERS, workspace_id, [row[0] for row in rows])
            return [_view(row, users[row[0]]) for row in rows], total

        return await self._database.read_long(read)

    async def names(self, workspace_id: WorkspaceId) -> Collection[str]:
        rows = await self._database.read(lambda tx: tx.rows(NAMES, {"workspace_id": workspace_id}))
        return {name for (name,) in rows}


def _view(row: Row | Sequence[Any], used_by: Sequence[FlowName] = ()) -> ConfigView:
    name, value, created_at, updated_at, edition = row
    return ConfigView(
        name=name,
        value=decode_json(value),
        created_at=from_ms(created_at),
        updated_at=from_ms(updated_at),
        edition=edition,
        used_by=used_by,
    )
