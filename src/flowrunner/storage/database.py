"""Interface of a database to the stores, and the operations that they submit."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.audit import Audit
from flowrunner.ports.journal import Fenced
from flowrunner.storage.audit_chain import add_to_chain
from flowrunner.storage.transaction import Transaction

T = TypeVar("T")

# Called with the seconds of each commit, and of each read on a connection of its own, including the wait for that.
OnDuration: TypeAlias = Callable[[Literal["commit", "read"], float], None]


def unmeasured(kind: Literal["commit", "read"], seconds: float) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class ConnectionUse:
    """The connections for reads.

    Attributes:
        most: The maximum number of them.
        waiting: Reads that wait for a connection.
    """

    most: int
    open: int
    used: int
    waiting: int


class Overtaken(Unavailable, Fenced):
    """Rejection of a write because another process has claimed the database; nothing was written."""


class WriteOp(Protocol):
    """An operation in the writer's transaction."""

    @property
    def allows_concurrent_writers(self) -> bool:
        """Return whether other processes may write at the same time: it then neither counts nor chains rows."""
        ...

    @property
    def size(self) -> int:
        """Return the bytes that it writes; 0 if it always writes few."""
        ...

    @property
    def execution_id(self) -> ExecutionId | None:
        """Return the only execution whose rows it changes; None if there is not exactly one."""
        ...

    async def run(self, tx: Transaction) -> Any: ...


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A function to call with the transaction. If it raises, its own changes alone are rolled back.

    Attributes:
        audit: The entries to add to the audit log in the same transaction.
    """

    function: Callable[[Transaction], Awaitable[T]]
    audit: Audit = None
    allows_concurrent_writers: ClassVar[bool] = False
    size: ClassVar[int] = 0
    execution_id: ClassVar[ExecutionId | None] = None

    async def run(self, tx: Transaction) -> T:
        result = await self.function(tx)
        entries = self.audit(result) if callable(self.audit) else self.audit
        if entries:
            await add_to_chain(tx, [entries] if isinstance(entries, AuditEntry) else entries)
        return result


# Runs several operations of one kind together. If it raises, each is run alone instead.
Bulk: TypeAlias = Callable[[Transaction, Sequence[Any]], Awaitable[None]]
# Runs as many operations of one kind as one statement can, outside a transaction, and returns those that were done.
ConcurrentAppends: TypeAlias = Callable[[Transaction, Sequence[Any]], Awaitable[Sequence[Any]]]


class Database(Protocol):
    """A database with one writer, whose transactions are shared by many tasks."""

    def submit(self, work: WriteOp) -> Awaitable[Any]:
        """Run ``work`` in the next transaction and return its result once that is durable.

        Raises:
            Unavailable: If the transaction could not be committed. Nothing was written, unless the connection was lost
                during the commit: then the outcome is unknown.
        """
        ...

    async def write(self, function: Callable[[Transaction], Awaitable[T]], *, audit: Audit = None) -> T:
        """Call ``function`` in the next transaction. If it raises, its own changes alone are rolled back.

        Args:
            audit: The entries to add to the audit log in the same transaction, unless ``function`` raises.
        """
        ...

    async def claim(self, function: Callable[[Transaction], Awaitable[int]]) -> int:
        """Become a process that may write, as long as the epoch remains the one that ``function`` returns.

        A function that increments the epoch excludes all other processes; one that reads it joins them.
        """
        ...

    async def read(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function``, which reads a few rows, where that is fastest. It may be called twice."""
        ...

    async def read_long(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function``, which may read many rows."""
        ...

    def notify(self, execution_ids: Iterable[str]) -> None:
        """Notify other processes that the executions have new events; `Transaction.announce` does so after a commit."""
        ...

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        """Call ``on_notification`` with each execution to which another process has added events, until cancelled.

        Args:
            name: Returns the current name of this process, by which others see its keys: see `storage.keys`.
            on_gap: Called when notifications may have been missed.
        """
        ...

    async def give_space_back(self) -> bool:
        """Return some of the space that deletions freed to the file system; return whether there is more."""
        ...

    def connections(self) -> ConnectionUse:
        """Return how the connections for reads are used now."""
        ...

    async def check_readable(self) -> None:
        """Raise Unavailable if reading does not work."""
        ...

    async def check_writable(self) -> None:
        """Raise Unavailable if the last commit failed; if it is too long ago, commit once more to find out."""
        ...

    async def close(self) -> None:
        """Commit what was submitted, then close the connections."""
        ...
