"""The stores that several parts of the program share."""

from dataclasses import dataclass
from typing import Self

from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.callback_deliveries import SqlCallbackDeliveries
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.database import Database
from flowrunner.storage.execution_records import SqlExecutionRecords
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.hooks import SqlHooks
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.store import SqlStore
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.triggers import SqlTriggers
from flowrunner.storage.usage import SqlUsage
from flowrunner.storage.workspaces import SqlWorkspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    accounts: SqlAccounts
    audit: SqlAudit
    callbacks: SqlCallbacks
    callback_deliveries: SqlCallbackDeliveries
    config: SqlConfig
    executions: SqlExecutions
    flows: SqlFlows
    hooks: SqlHooks
    journal: SqlJournal
    pause: SqlPause
    records: SqlExecutionRecords
    sessions: SqlSessions
    store: SqlStore
    tokens: SqlTokens
    triggers: SqlTriggers
    usage: SqlUsage
    workspaces: SqlWorkspaces

    @classmethod
    def of(cls, database: Database, limits: WorkspaceLimits) -> Self:
        return cls(
            accounts=SqlAccounts(database),
            audit=SqlAudit(database),
            callbacks=SqlCallbacks(database),
            callback_deliveries=SqlCallbackDeliveries(database),
            config=SqlConfig(database),
            executions=SqlExecutions(database),
            flows=SqlFlows(database),
            hooks=SqlHooks(database),
            journal=SqlJournal(database),
            pause=SqlPause(database),
            records=SqlExecutionRecords(database),
            sessions=SqlSessions(database),
            store=SqlStore(database, limits),
            tokens=SqlTokens(database),
            triggers=SqlTriggers(database),
            usage=SqlUsage(database),
            workspaces=SqlWorkspaces(database),
        )
