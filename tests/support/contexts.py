"""What a node type is given when a test runs it by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.engine.node_context import faults_of
from flowrunner.plugin import (
    DescribedFlow,
    Expected,
    HttpClient,
    ImapClient,
    MailClient,
    NodeFailure,
    SqlClient,
    SubFlow,
)
from flowrunner.schemas import RustSchemas
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.name_lookups import lookup_slots
from support.databases import MARA, NOON


class NoFlows:
    """An account without flows. Fills `plugin.SubFlows`."""

    async def describe(self, flow: str, *, version: str | int | None) -> DescribedFlow:
        raise NodeFailure("flow.not_found", f"There is no flow '{flow}'")

    async def start(
        self,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        wait: bool,
        dedupe: str | None = None,
    ) -> SubFlow:
        raise NodeFailure("flow.not_found", f"There is no flow '{flow}'")


class PlainStore:
    """A store in memory without checks. Fills `plugin.Store`."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], JSON] = {}

    async def get(self, key: str, *, namespace: str) -> JSON:
        return self.values.get((namespace, key))

    async def keys(self, *, namespace: str, prefix: str, after: str, limit: int) -> JSON:
        found = sorted(key for name, key in self.values if name == namespace and key.startswith(prefix) and key > after)
        return {"keys": found[:limit], "next": found[limit - 1] if len(found) > limit else None}

    async def set(
        self, key: str, value: JSON, *, namespace: str, ttl_seconds: float | None, expected: Expected | None = None
    ) -> JSON:
        self._check(namespace, key, expected)
        is_new = (namespace, key) not in self.values
        self.values[namespace, key] = value
        return {"created": is_new}

    async def delete(self, key: str, *, namespace: str, expected: Expected | None = None) -> JSON:
        self._check(namespace, key, expected)
        return {"deleted": self.values.pop((namespace, key), None) is not None}

    def _check(self, namespace: str, key: str, expected: Expected | None) -> None:
        if expected is not None and self.values.get((namespace, key)) != expected.value:
            raise NodeFailure("store.changed", "It has another value")

    async def increment(self, key: str, amount: int, *, namespace: str, ttl_seconds: float | None) -> JSON:
        before = self.values.get((namespace, key), 0)
        assert isinstance(before, int)
        self.values[namespace, key] = before + amount
        return before + amount


@dataclass
class PlainContext:
    """Fills `plugin.StepContext`; keeps the log lines."""

    http: HttpClient
    input: JSON = None
    execution_id: str = "exec-1"
    node: str = "a"
    iteration: int = 1
    attempt: int = 1
    failures: int = 0
    timeout_seconds: float | None = None
    branches: Sequence[str] = ()
    collects: bool = False
    depth: int = 0
    mail: MailClient = field(
        default_factory=lambda: EgressMailClients(EgressPolicy(), lookup_slots()).of(WorkspaceId(MARA))
    )
    imap: ImapClient = field(
        default_factory=lambda: EgressImapClients(EgressPolicy(), lookup_slots()).of(WorkspaceId(MARA))
    )
    sql: SqlClient = field(
        default_factory=lambda: EgressSqlClients(EgressPolicy(), lookup_slots()).of(WorkspaceId(MARA))
    )
    flows: NoFlows = field(default_factory=NoFlows)
    store: PlainStore = field(default_factory=PlainStore)
    lines: list[tuple[LogLevel, str, JSON]] = field(default_factory=list)

    @property
    def step(self) -> str:
        return f"{self.node}.{self.iteration}"

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}.{self.step}"

    async def hold_long_value(self, memory: int = 0) -> None:
        """It is alone."""

    async def check(self, value: JSON, schema: JSON) -> Sequence[str]:
        return faults_of(value, schema, RustSchemas())

    def now(self) -> datetime:
        return NOON

    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        self.lines.append((level, message, data))
