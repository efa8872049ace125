"""What the stores need of a database, and the work they give it."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.ports import Audit, Fenced
from flowrunner.storage.audit_chain import add_to_chain
from flowrunner.storage.transaction import Transaction

T = TypeVar("T")


class Overtaken(Unavailable, Fenced):
    """Nothing was written: another process has claimed the database since this one did, or before it could."""


class WriteOp(Protocol):
    """Something to be done in the writer's transaction."""

    @property
    def allows_concurrent_writers(self) -> bool:
        """Nothing is counted or chained by it, so that other processes may write beside it."""
        ...

    @property
    def size(self) -> int:
        """Bytes that it writes, where they may be many."""
        ...

    @property
    def execution_id(self) -> ExecutionId | None:
        """The execution whose rows it changes, if it is about one."""
        ...

    async def run(self, tx: Transaction) -> Any: ...


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """Any function of the transaction. What it raises undoes it, and it alone.

    Attributes:
        audit: What goes into the audit log in the same transaction.
    """

    function: Callable[[Transaction], Awaitable[T]]
    audit: Audit = None
    allows_concurrent_writers: ClassVar[bool] = False
    size: ClassVar[int] = 0
    execution_id: ClassVar[ExecutionId | None] = None

    async def run(self, tx: Transaction) -> T:
        result = await self.function(tx)
        entry = self.audit(result) if callable(self.audit) else self.audit
        if entry is not None:
            await add_to_chain(tx, [entry])
        return result


# Does several pieces of work of one kind at once; raises to have each done by itself instead.
Bulk: TypeAlias = Callable[[Transaction, Sequence[Any]], Awaitable[None]]
# Does as many pieces of work of one kind, of those that are by themselves, as one statement can, and gives them.
ConcurrentAppends: TypeAlias = Callable[[Transaction, Sequence[Any]], Awaitable[Sequence[Any]]]


class Database(Protocol):
    """A database with one writer, whose transactions many tasks share."""

    def submit(self, work: WriteOp) -> Awaitable[Any]:
        """Do ``work`` in the next transaction; done when that is durable.

        Raises:
            Unavailable: The transaction could not be committed. Nothing of it happened, unless the
                connection to a server was lost in the very commit: then it may have.
        """
        ...

    async def write(self, function: Callable[[Transaction], Awaitable[T]], *, audit: Audit = None) -> T:
        """Call ``function`` in the next transaction. What it raises, it alone is undone by.

        Args:
            audit: What goes into the audit log in the same transaction, unless it raises.
        """
        ...

    async def claim(self, function: Callable[[Transaction], Awaitable[int]]) -> int:
        """Become a process that may write, for as long as the epoch is the one that ``function`` gives.

        A function that raises it shuts out all other processes; one that reads it joins them.
        """
        ...

    async def read(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function``, which reads a few rows, wherever that is quickest.

        It must not mind being called twice.
        """
        ...

    async def read_long(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function``, which may read many rows."""
        ...

    def notify(self, execution_ids: Iterable[str]) -> None:
        """Tell other processes that the executions have new events; `Transaction.announce` does so after a commit."""
        ...

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        """Call ``on_notification`` with the id of each execution to which another process has added events, for ever.

        Args:
            name: What others see this process by, as it is at any time: see `storage.keys`.
            on_gap: Is called when some may have gone unheard.
        """
        ...

    async def give_space_back(self) -> bool:
        """Give a little of what deletions made free back to the disk; whether there is more."""
        ...

    async def check_readable(self) -> None:
        """Raises: Unavailable."""
        ...

    async def check_writable(self) -> None:
        """Find out whether writing works: by the last commit, or by one more if that says too little.

        Raises:
            Unavailable: It does not.
        """
        ...

    async def close(self) -> None:
        """Commit what was submitted, then let go of the database."""
        ...
