"""What all executions in memory share, and what the parts of one share."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import ExecutionId
from flowrunner.engine.held_memory import HeldMemory
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.plugin import NodeType
from flowrunner.ports.approval_links import ApprovalLinkSigner, NoApprovalLinks
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import ExecutionLinks, SubFlowStarter
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.http import HttpClients
from flowrunner.ports.imap_clients import ImapClients
from flowrunner.ports.journal import Journal
from flowrunner.ports.live import Broadcast
from flowrunner.ports.mail_clients import MailClients
from flowrunner.ports.memory import MemoryRoom
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.secrets import Redactor, SecretReader
from flowrunner.ports.sql_clients import SqlClients
from flowrunner.ports.store import StepStore
from flowrunner.ports.telemetry import ExecutionObserver, ObservedExecution, Traces, Unobserved
from flowrunner.retrying import retry

T = TypeVar("T")

logger = structlog.get_logger()


class Stopped(Exception):
    """The interruption of a step by the server's stop; it runs again at the next start."""


# Delay between two calls of an unavailable dependency.
_RETRY_SECONDS: Final = 1.0
# A shorter wait is spent in memory: leaving and loading again costs more.
SHORT_WAIT_SECONDS: Final = 1.0
# The same while other executions wait for an active slot: about the time in which a slot changes hands.
_SHORT_WAIT_WHILE_OTHERS_WAIT: Final = 0.1


@dataclass(slots=True, kw_only=True)
class EngineDependencies:
    """The ports and the state that all executions in memory share.

    Attributes:
        draw: A uniform sample from [0, 1), for jitter.
        traces: The traces of executions; None if the process exports none.
        memory: Memory budget of loaded executions; None for no limit.
        held: The memory that executions hold, from their load or start on.
        approval_links: Signs the links of approvals.
        limits: Limits of each workspace.
        short_wait: Longest wait, in seconds, that an execution spends in memory.
        long_ones_stay: A long execution stays in memory for a while when it waits, by the clock of the machine. False
            where another clock decides.
        others_wait: Executions wait for an active slot, so that one which waits in memory holds them up.
        epoch: Fencing token of every append; 0 until the journal has been claimed or shared.
        is_shared: Other processes advance executions of the same journal; each execution has one owner.
        is_stopping: No further step starts; running ones may end.
        logs_steps: The server writes a line about each step, as `log_level=debug` sets for the life of the process.
    """

    journal: Journal
    library: CompiledFlows
    vault: SecretReader
    broadcast: Broadcast
    sandbox: Sandbox
    node_types: Mapping[str, NodeType[Any]]
    http: HttpClients
    mail: MailClients
    imap: ImapClients
    sql: SqlClients
    store: StepStore
    schemas: SchemaEngine
    clock: Clock
    draw: Callable[[], float]
    observer: ExecutionObserver = field(default_factory=Unobserved)
    traces: Traces | None = None
    memory: MemoryRoom | None = None
    held: HeldMemory = field(default_factory=HeldMemory)
    approval_links: ApprovalLinkSigner = field(default_factory=NoApprovalLinks)
    limits: WorkspaceLimits = UNLIMITED
    short_wait: float = SHORT_WAIT_SECONDS
    long_ones_stay: bool = True
    others_wait: bool = False
    epoch: int = 0
    is_shared: bool = False
    is_stopping: bool = False
    logs_steps: bool = field(default_factory=lambda: bool(logger.is_enabled_for(logging.DEBUG)))
    _links: ExecutionLinks | None = None
    _flows: SubFlowStarter | None = None

    def connect(self, *, links: ExecutionLinks, flows: SubFlowStarter) -> None:
        """Set the dependencies that are created after the engine."""
        self._links, self._flows = links, flows

    @property
    def links(self) -> ExecutionLinks:
        assert self._links is not None, "connected before the first execution"
        return self._links

    @property
    def flows(self) -> SubFlowStarter:
        assert self._flows is not None, "connected before the first execution"
        return self._flows

    @property
    def longest_wait_in_memory(self) -> float:
        return min(self.short_wait, _SHORT_WAIT_WHILE_OTHERS_WAIT) if self.others_wait else self.short_wait

    def starts_executions(self, node_type: str) -> bool:
        """Return whether nodes of this type may start executions: True for a type that is no longer installed."""
        known = self.node_types.get(node_type)
        return known is None or known.starts_executions

    async def retry_until_available(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Call ``ask`` until it stops raising Unavailable; an outage must not fail the flow.

        Raises:
            Stopped.
            Other exceptions of ``ask``.
        """

        def failed(error: Exception, attempts: int) -> None:
            if self.is_stopping:
                raise Stopped from None

        return await retry(ask, on=Unavailable, delay=lambda _: _RETRY_SECONDS, on_failure=failed)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRef(ObservedExecution):
    """The identity of an execution, for its steps.

    Attributes:
        keys_of: The execution whose idempotency keys its steps send: itself, or for some reruns the earlier execution.
    """

    flow: Flow
    keys_of: ExecutionId


@static_dataclass(frozen=True, slots=True)
class LoadedExecution:
    """One execution in memory, as the parts of its actor use it.

    Attributes:
        state: Changes with each event.
        redactor: Removes secrets from what is stored and logged.
    """

    deps: EngineDependencies
    execution: ExecutionRef
    state: ExecutionState
    redactor: Redactor
