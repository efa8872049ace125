"""What the core needs from the outside, as protocols; `bootstrap` fills them with adapters."""

from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, Literal, Protocol, TypeAlias

from flowrunner.domain.account import Account, Caller, Role, Scope
from flowrunner.domain.audit import AuditEntry, AuditRow, Outcome
from flowrunner.domain.execution import Event, Status
from flowrunner.domain.flow import Flow
from flowrunner.domain.script import Script, ScriptFault, ScriptOutcome
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, RevisionId, SessionId, TokenId
from flowrunner.plugin import SubFlow


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, in UTC, in whole milliseconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    limit: int
    offset: int


# The audit log

# What is written into the audit log in the transaction of an act: an entry, or what makes one, or none,
# of the act's result. It is called on another thread. An act that raises leaves none.
Audit: TypeAlias = AuditEntry | Callable[[Any], AuditEntry | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries somebody wants to see; None is any. ``until`` is not among them."""

    actor: str | None = None
    account_id: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditStore(Protocol):
    async def add(self, entry: AuditEntry) -> None:
        """For an act that changes nothing else. Any other takes its entry along."""
        ...

    async def page(self, wanted: AuditFilter, *, page: Page) -> tuple[Sequence[AuditRow], int]:
        """The newest first, with the total."""
        ...

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete some of the oldest entries, from before then; gives how many. The rest still follows from them."""
        ...


# The journal


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it is stored: numbered, encoded, and free of secrets.

    Attributes:
        data: The event's fields as a JSON object.
    """

    seq: int
    at: datetime
    event: Event
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What lists of executions show; stored beside the events, in the same transaction.

    Attributes:
        wake_at: When a waiting execution has something to do by itself.
        waiting_for: What a waiting execution waits for, as a JSON text.
        is_queued: It waits for its turn. Who lets it in meanwhile makes the append that says so `Fenced`.
    """

    status: Status
    completed_at: datetime | None = None
    error: str | None = None
    wake_at: datetime | None = None
    waiting_for: bytes | None = None
    is_queued: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A place among the executions of a flow that may be under way at once.

    Attributes:
        key: What they share.
        most: How many may be under way.
        is_queued: The execution waits until one of the places is free.
    """

    key: str
    most: int
    is_queued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """An execution that does not exist yet.

    Attributes:
        idempotency_key: Given by the caller; the same key never makes a second execution.
        request_digest: What was asked with that key, to tell a repeat from a mistake.
        by: The account that asked for it.
        parent_id: The execution that waits for its end.
        started_for: What `Started.parent` says of where it comes from.
        turn: Its place among the executions of its flow, where those are limited.
        rerun_of: The execution it repeats, from the step ``rerun_from`` on.
        prefix: Events it begins with, after the first: what a rerun keeps of another execution.
        audit: Who started it, for the audit log.
    """

    id: ExecutionId
    account_id: AccountId
    flow_id: FlowId
    revision_id: RevisionId
    started_at: datetime
    idempotency_key: str | None = None
    request_digest: str | None = None
    by: AccountId | None = None
    parent_id: ExecutionId | None = None
    started_for: JSON = None
    turn: Turn | None = None
    rerun_of: ExecutionId | None = None
    rerun_from: str | None = None
    prefix: Sequence[tuple[Event, datetime]] = ()
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events of one execution that become durable together, with the summary they lead to.

    Attributes:
        create: Set for the first events of an execution.
        epoch: The writer's epoch. A write with an old one changes nothing.
        after: Number of the last event before these.
        audit: Who caused them, for the audit log; who created it stands in ``create``.
        letters: Numbers of the letters that they answer, which are gone with it.
    """

    execution_id: ExecutionId
    epoch: int
    after: int
    records: Sequence[Recorded]
    summary: Summary
    create: NewExecution | None = None
    audit: Sequence[AuditEntry] = ()
    letters: Sequence[int] = ()


class Fenced(Exception):
    """The append was refused: another process owns the execution, or it has ended."""


class NoTurn(Exception):
    """Nothing was written: as many executions of the flow are under way as may be."""


class DuplicateRequest(Exception):
    """An execution was already accepted under this idempotency key."""

    def __init__(self, execution_id: ExecutionId, request_digest: str | None) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id
        self.request_digest = request_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExecution:
    """An execution as the engine picks it up.

    Attributes:
        account_is_gone: Its account was deleted, so it must not go on.
        size: Bytes of its events.
        parent_id: The execution that waits for its end.
        turn: Its place among the executions of its flow.
    """

    id: ExecutionId
    account_id: AccountId
    flow_id: FlowId
    revision_id: RevisionId
    status: Status
    account_is_gone: bool
    size: int
    parent_id: ExecutionId | None = None
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An execution and the one that was to wait for its end; at most one of them has ended."""

    child: ExecutionId
    parent: ExecutionId
    child_has_ended: bool = False
    parent_has_ended: bool = False


class Journal(Protocol):
    """The append-only events of every execution."""

    def append(self, append: Append) -> Awaitable[None]:
        """Done when the events are durable. Nothing else makes an execution change.

        Raises:
            Fenced: Nothing was written: the epoch is old, or ``after`` is not the last event.
            DuplicateRequest: Nothing was written: the idempotency key is taken.
            NotFound: Nothing was written: the flow of a new execution is gone, or its revision, or its account.
        """
        ...

    async def claim(self) -> int:
        """Make this process the only one whose appends count; gives its epoch."""
        ...

    async def epoch(self) -> int:
        """The epoch of the last claim, for processes that share the journal and own executions one by one."""
        ...

    async def own(self, id: ExecutionId, epoch: int) -> int:
        """Make the appends of one execution count only under the mark that this gives.

        Raises:
            Fenced: The journal was claimed since ``epoch``.
        """
        ...

    async def load(self, id: ExecutionId) -> tuple[StoredExecution, Sequence[tuple[Event, datetime]]]:
        """An execution with all its events.

        Raises:
            NotFound: If there is none.
        """
        ...

    async def stored(self, id: ExecutionId) -> StoredExecution:
        """An execution without its events. Raises: NotFound."""
        ...

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]: ...

    async def unowned(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, AccountId]]:
        """Executions that are to run since then or longer and that nobody has owned yet, and whose they are."""
        ...

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[tuple[ExecutionId, AccountId]]:
        """Running executions and whose they are, by id, beyond ``after``; the waiting ones are ``due`` in time."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, AccountId]]:
        """Waiting executions whose time has come, and whose they are."""
        ...

    async def next_wake(self) -> datetime | None: ...

    async def admit(self, key: str) -> tuple[ExecutionId, AccountId] | None:
        """Give the next place under ``key`` that is free to the execution that waits longest; tell which, and whose."""
        ...

    async def queued_keys(self) -> Sequence[str]:
        """Keys under which executions wait for their turn."""
        ...

    async def sharing_turn(self, key: str) -> Sequence[ExecutionId]:
        """Executions that have not ended and share a limit, the oldest first."""
        ...

    async def unsettled(self, parent: ExecutionId | None = None) -> Sequence[Unsettled]:
        """Executions and the ones that wait for them, where one may have missed what the other did.

        Args:
            parent: The only one to look at; None for all there are.
        """
        ...


# What people see of executions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    id: ExecutionId
    flow_id: FlowId
    status: Status
    started_at: datetime
    completed_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionDetail(ExecutionView):
    """``input`` and ``result`` are JSON texts; there is no result before the end.

    Attributes:
        revision_id: The revision of the flow that it runs, also where that has been deleted.
        waiting_for: What a waiting execution waits for, as a JSON text.
        failure: Why and where a failed one failed: its `Failed` event, as a JSON text.
        revision: Number of the flow's revision that it runs.
        parent_id: The execution that waits for it.
        rerun_of: The execution that it repeats.
    """

    input: bytes
    result: bytes | None
    revision_id: RevisionId
    waiting_for: bytes | None = None
    failure: bytes | None = None
    revision: int | None = None
    parent_id: ExecutionId | None = None
    rerun_of: ExecutionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    timestamp: datetime
    level: str
    message: str
    node_id: str | None
    node_type: str | None
    data: JSON
    step: str | None = None


class ExecutionReader(Protocol):
    async def get(self, account_id: AccountId, id: ExecutionId) -> ExecutionDetail:
        """Raises: NotFound."""
        ...

    async def request(self, account_id: AccountId, idempotency_key: str) -> tuple[ExecutionId, str | None] | None:
        """What was accepted under the key, with the digest of what was asked; None if it is free."""
        ...

    async def page(
        self, account_id: AccountId, *, flow_id: FlowId | None, statuses: Sequence[Status], page: Page
    ) -> tuple[Sequence[ExecutionView], int]:
        """The newest first, with the total."""
        ...

    async def logs(
        self, account_id: AccountId, id: ExecutionId, *, level: str | None, page: Page
    ) -> tuple[Sequence[LogLine], int]:
        """In the order of their events, with the total. Raises: NotFound."""
        ...

    async def purge(self, *, ended_before: datetime, limit: int) -> tuple[int, bool]:
        """Delete some ended executions with their events, at most ``limit``, as far as a short commit goes.

        Returns:
            How many were deleted, and whether there may be more to delete.
        """
        ...

    async def give_space_back(self) -> bool:
        """Give a little of what a purge made free back to the disk; whether there is more."""
        ...


class UsageReader(Protocol):
    """How much an account uses, where its executions in memory do not tell."""

    async def stored(self, account_id: AccountId) -> int:
        """Bytes of its executions' events, of its flows with every definition, and of its sealed secrets."""
        ...

    async def queued(self, account_id: AccountId) -> int:
        """Its executions that wait for a turn among those of their flow."""
        ...


# Flows


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowView:
    id: FlowId
    name: str
    description: str
    version: str
    tags: Sequence[str]
    created_at: datetime
    updated_at: datetime
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFlow(FlowView):
    """A flow with its definition.

    Attributes:
        revision: Number of the definition's revision. The store counts it, and `edition`.
        edition: Counts the changes of any kind, the making included.
    """

    definition: str
    revision_id: RevisionId
    edition: int = 1

    @property
    def state(self) -> str:
        """Another text after every change: whoever names it means the flow as it is now."""
        return f"{self.revision}.{self.edition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A definition that a flow has or had.

    Attributes:
        number: Counted from 1 within the flow. No two ever have the same, deleted ones included.
        version: The author's label.
        size: Bytes of the definition.
    """

    number: int
    version: str
    size: int
    created_at: datetime
    created_by: AccountId
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRevision(RevisionView):
    definition: str


class FlowStore(Protocol):
    async def create(
        self, account_id: AccountId, flow: SavedFlow, *, most: int | None = None, audit: Audit = None
    ) -> None:
        """Raises: NotFound for no such account; LimitReached if it has ``most`` flows already."""
        ...

    async def update(
        self,
        account_id: AccountId,
        id: FlowId,
        change: Callable[[SavedFlow], SavedFlow],
        *,
        audit: Audit = None,
    ) -> SavedFlow:
        """Put what ``change`` makes of the flow as it is at this moment in its place; gives that.

        Another ``revision_id`` makes a new revision.

        Args:
            change: Is called on another thread. What it raises leaves the flow as it was.

        Raises:
            NotFound.
        """
        ...

    async def delete(
        self,
        account_id: AccountId,
        id: FlowId,
        *,
        at: datetime,
        check: Callable[[SavedFlow], None] | None = None,
        audit: Audit = None,
    ) -> None:
        """Delete the flow as it is at this moment.

        Args:
            check: Is called with it, on another thread. What it raises leaves the flow as it was.

        Raises:
            NotFound.
        """
        ...

    async def get(self, account_id: AccountId, id: FlowId) -> SavedFlow:
        """Raises: NotFound."""
        ...

    async def revision_of(self, account_id: AccountId, id: FlowId) -> RevisionId:
        """The revision an execution started now is bound to. Raises: NotFound."""
        ...

    async def find(self, account_id: AccountId, id_or_name: str) -> FlowId:
        """The flow of that id, or else the one that has had that name for longest. Raises: NotFound."""
        ...

    async def revision_named(self, account_id: AccountId, id: FlowId, version: str | int) -> RevisionId:
        """The revision of that number, or the latest with that label of its author. Raises: NotFound."""
        ...

    async def definition(self, account_id: AccountId, revision_id: RevisionId) -> str:
        """Raises: NotFound."""
        ...

    async def revisions(self, account_id: AccountId, id: FlowId, *, page: Page) -> tuple[Sequence[RevisionView], int]:
        """The newest first, with the total. Raises: NotFound."""
        ...

    async def revision(self, account_id: AccountId, id: FlowId, number: int) -> SavedRevision:
        """Raises: NotFound for no such flow, or no such revision of it."""
        ...

    async def revision_before(self, account_id: AccountId, id: FlowId, number: int) -> SavedRevision | None:
        """The last one before ``number`` that was not deleted."""
        ...

    async def delete_revision(
        self, account_id: AccountId, id: FlowId, number: int, *, at: datetime, audit: Audit = None
    ) -> None:
        """Forget a definition, but not its number. No execution can start with it any more.

        Raises:
            NotFound: For no such flow, or no such revision of it.
            Conflict: It is the current one, or an execution that is bound to it has not ended.
        """
        ...

    async def page(self, account_id: AccountId, *, tag: str | None, page: Page) -> tuple[Sequence[FlowView], int]:
        """The oldest first, with the total."""
        ...

    async def purge(self, *, limit: int) -> bool:
        """Forget deleted flows of which no execution is left, with at most ``limit`` definitions.

        Whether there were any: then there may be more.
        """
        ...


class FlowLibrary(Protocol):
    """Flows that are ready to run, by revision."""

    async def get(self, account_id: AccountId, revision_id: RevisionId) -> Flow:
        """Raises: NotFound, or InvalidFlow if the language has moved on since it was saved."""
        ...


# Accounts, sessions, secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    account: Account
    password_hash: str


class AccountStore(Protocol):
    async def create(
        self, account: Account, *, password_hash: str, only_if_first: bool = False, audit: Audit = None
    ) -> None:
        """Raises: Conflict if the address is taken, or if ``only_if_first`` and it is not."""
        ...

    async def update(
        self,
        id: AccountId,
        *,
        by: AccountId,
        at: datetime,
        name: str | None = None,
        email: str | None = None,
        role: Role | None = None,
        password_hash: str | None = None,
        is_disabled: bool | None = None,
        audit: Audit = None,
    ) -> tuple[Account, bool]:
        """Change what is given and nothing else; the flag says whether this ended the account's sessions.

        A new role and a new password do, and disabling or enabling it. A new password ends its API tokens too.

        Args:
            by: Who changes it, with the rights that they have at this moment.

        Raises:
            NotFound: Also if ``by`` may not see the account.
            Forbidden: If this is about the role, or whether it is disabled, and ``by`` is no admin.
            Conflict: If the address is taken or no active admin would remain.
        """
        ...

    async def delete(self, id: AccountId, *, at: datetime, audit: Audit = None) -> None:
        """Ends its sessions and API tokens, and erases its secrets too.

        Raises: NotFound; Conflict if no admin would remain.
        """
        ...

    async def get(self, id: AccountId) -> Account:
        """Raises: NotFound."""
        ...

    async def credential(self, email: str) -> Credential | None:
        """None for nobody, and for an account that is disabled."""
        ...

    async def rehash(self, id: AccountId, *, old: str, new: str) -> bool:
        """Put another hash of the same password in the place of ``old``; False if that is not there any more."""
        ...

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]: ...
    async def any(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that is to be opened, for an account that has this role."""

    id: SessionId
    account_id: AccountId
    role: Role
    expires_at: datetime


class Renewal(Enum):
    """What became of the wish to replace a session by another."""

    REPLACED = auto()
    # It was replaced a moment ago, and nothing points to a thief.
    REPEATED = auto()
    # It was replaced before, so two have its token: all that the login led to has ended.
    REUSED = auto()
    ENDED = auto()


class SessionStore(Protocol):
    async def open(self, session: NewSession, *, password_hash: str, audit: Audit = None) -> bool:
        """False, and nothing done, if the account has another password or role by now, or is disabled or gone."""
        ...

    async def find(self, id: SessionId) -> Caller | None:
        """The live session with its account's present role, or None."""
        ...

    async def family(self, id: SessionId) -> str | None:
        """What a session and whatever it is refreshed into have in common; None if it has ended."""
        ...

    async def is_family_alive(self, family: str, *, now: datetime) -> bool:
        """Whether any session of the family is."""
        ...

    async def replace(
        self, old: SessionId, new: NewSession, *, now: datetime, old_ends_at: datetime, audit: Audit = None
    ) -> Renewal:
        """Open ``new`` and let ``old`` end, unless ``old`` was replaced before."""
        ...

    async def end_if_replaced(self, id: SessionId, *, audit: Audit = None) -> AccountId | None:
        """End all that a login led to, if this session of it was replaced before; whose they were, or None."""
        ...

    async def end(self, id: SessionId, *, audit: Audit = None) -> None:
        """End the session and the one it replaced, if that is still alive."""
        ...

    async def save_ticket(self, digest: str, session_id: SessionId, *, expires_at: datetime) -> None: ...

    async def take_ticket(self, digest: str, *, now: datetime) -> SessionId | None:
        """The session of a ticket, which is used up by this."""
        ...

    async def purge(self, *, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """An API token, but for what its holder shows: that is known to nobody else.

    Attributes:
        last_used_at: To about a minute; None if it never was.
    """

    id: TokenId
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class TokenStore(Protocol):
    async def create(
        self, account_id: AccountId, token: TokenView, *, digest: str, by: SessionId, most: int, audit: Audit = None
    ) -> None:
        """Raises: Conflict if there are ``most`` already; Unauthorized if the session has ended."""
        ...

    async def find(self, digest: str) -> Caller | None:
        """Who a token stands for, with their present role; it may have expired. None for no such token."""
        ...

    async def is_alive(self, id: TokenId, *, now: datetime) -> bool: ...

    async def delete(self, account_id: AccountId, id: TokenId, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def page(self, account_id: AccountId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """The oldest first, with the total."""
        ...

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None: ...
    async def purge(self, *, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    key: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret at rest: its value encrypted under version ``key_version`` of the account's data key."""

    key: str
    key_version: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key encrypted under the master key whose id is ``master_key_id``."""

    version: int
    master_key_id: str
    wrapped: bytes


# Seals a secret under the account's newest data key, or under a first one that it makes.
Seal: TypeAlias = Callable[[WrappedKey | None], tuple[SealedSecret, WrappedKey]]
# Makes the next data key, and seals under it what can be opened of the account's secrets.
Reseal: TypeAlias = Callable[
    [Sequence[tuple[SealedSecret, WrappedKey | None]]], tuple[WrappedKey, Sequence[SealedSecret]]
]


class SecretStore(Protocol):
    """Whatever it is given to call is called within a transaction, on another thread."""

    async def save(
        self, account_id: AccountId, seal: Seal, *, at: datetime, most: int | None = None, audit: Audit = None
    ) -> tuple[SecretView, bool]:
        """Write or replace; the flag says whether it is new.

        Raises: NotFound for no such account; LimitReached if it is new, and there are ``most`` already.
        """
        ...

    async def delete(self, account_id: AccountId, key: str, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def list(self, account_id: AccountId) -> Sequence[SecretView]: ...

    async def sealed(self, account_id: AccountId) -> Sequence[tuple[SealedSecret, WrappedKey | None]]:
        """Every secret with its data key, as they are at one moment; no data key for one that is damaged."""
        ...

    async def master_key_ids(self) -> Set[str]:
        """The master keys without which some data key cannot be opened."""
        ...

    async def rewrap(
        self, after: tuple[AccountId, int] | None, rewrap: Callable[[AccountId, WrappedKey], WrappedKey], *, limit: int
    ) -> tuple[AccountId, int] | None:
        """Put what ``rewrap`` makes in the place of some data keys, in their order; the last, or None at the end."""
        ...

    async def reseal_next(self, rotation: int, reseal: Callable[[AccountId, int], Reseal]) -> AccountId | None:
        """Give a new data key to one account that has none since the rotation; None if there is no such account.

        Args:
            reseal: Is told the account and the version of its new key.
        """
        ...


KeyKind: TypeAlias = Literal["master", "data", "signing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """Keys of one kind are replaced; over when nothing needs the earlier ones any more.

    Attributes:
        replaces: The key that a file held when it was asked for; None for data keys.
        needed_until: Until when tokens may come that were signed with it; None if nobody knows yet.
    """

    id: int
    kind: KeyKind
    replaces: str | None
    requested_at: datetime
    needed_until: datetime | None
    completed_at: datetime | None


class KeyRotationStore(Protocol):
    async def request(
        self, kind: KeyKind, *, replaces: str | None, at: datetime, audit: Audit = None
    ) -> tuple[KeyRotation, bool]:
        """A new rotation, or the one that has been asked for and has not ended; the flag says whether it is new."""
        ...

    async def keep_until(self, id: int, at: datetime) -> datetime:
        """Note that the earlier key is needed until then, and as long as tokens last that are out now."""
        ...

    async def complete(self, id: int, *, at: datetime, audit: Audit = None) -> None: ...
    async def under_way(self) -> Sequence[KeyRotation]:
        """In the order in which they were asked for."""
        ...

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        """The newest first, with the total."""
        ...


class KeyRotator(Protocol):
    """Replaces keys, step by step; each step can be the last of a process."""

    def present(self, kind: KeyKind) -> str | None:
        """The id of the key that is in use; None for data keys."""
        ...

    async def advance(self, rotation: KeyRotation) -> bool:
        """Do what can be done at this time; whether the rotation is over."""
        ...


class PasswordHasher(Protocol):
    async def hash(self, password: str) -> str: ...
    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Takes as long for None, which stands for no such account, as for a wrong password."""
        ...

    def is_outdated(self, password_hash: str) -> bool: ...


class TokenIssuer(Protocol):
    def issue(self, session: NewSession, *, now: datetime) -> str: ...

    def verify(self, token: str) -> SessionId:
        """The session a token stands for. Raises: Unauthorized."""
        ...


class Redactor(Protocol):
    """Hides the values of an account's secrets."""

    def redact(self, value: JSON) -> JSON:
        """The value with `***` for every secret, at any depth, in keys too."""
        ...

    def found_in(self, encoded: bytes) -> bool:
        """Whether a JSON text may hold a secret; False is certain."""
        ...


class Vault(Protocol):
    async def set(
        self, account_id: AccountId, key: str, value: str, *, at: datetime, most: int | None = None, audit: Audit = None
    ) -> tuple[SecretView, bool]:
        """As `SecretStore.save`."""
        ...

    async def redactor(self, account_id: AccountId) -> Redactor:
        """Hides every value that the account's secrets have had since the process started."""
        ...

    async def reveal(self, account_id: AccountId, names: Collection[str]) -> Mapping[str, str]:
        """The values of the named secrets that exist. Raises: WrongKey if one cannot be opened."""
        ...

    def forget(self, account_id: AccountId) -> None: ...


class Sandbox(Protocol):
    """Evaluates JavaScript, outside the server's process and within bounds."""

    async def evaluate(
        self, account_id: AccountId, scripts: Sequence[Script], scope: Mapping[str, JSON]
    ) -> Sequence[ScriptOutcome]:
        """What each script comes to, in one exchange with one worker.

        None of them sees what another has changed.

        Args:
            scope: The names the scripts may start from.

        Raises:
            Unavailable: If no worker can be had.
        """
        ...

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptFault | None]:
        """What keeps each script from being JavaScript at all; nothing is run. Raises: Unavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Something that an execution is told from outside.

    Attributes:
        if_awaited: It counts only if a step waits for it at this moment.
        step: The step it is for, which waits for it or is about to: otherwise it does not count.
        audit: Who sends it, for the audit log.
        letter: The letter that it came by, which is gone once it is durable.
    """

    key: str
    payload: JSON
    by: str | None = None
    if_awaited: bool = False
    step: str | None = None
    audit: AuditEntry | None = None
    letter: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The wish that an execution ends. See `ActiveExecution.cancel`.

    Attributes:
        audit: Whose wish it is, for the audit log.
    """

    reason: str
    audit: AuditEntry | None = None
    spares_handlers: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """Something that an execution is told by a process that does not have it in memory."""

    number: int
    execution_id: ExecutionId
    content: "Signal | Cancel"


class Letters(Protocol):
    """What is on its way to executions in other processes.

    A letter is gone once what it says is durable: see `Append.letters`. One that did not count is marked, until
    whoever sent it has seen that.
    """

    async def post(self, id: ExecutionId, content: "Signal | Cancel", *, at: datetime) -> int:
        """Gives its number. Secrets must not be in it. Raises: NotFound."""
        ...

    async def unread(self, ids: Collection[ExecutionId]) -> Sequence[Letter]:
        """In the order in which they came."""
        ...

    async def refuse(self, number: int) -> None:
        """It did not count."""
        ...

    async def answer(self, number: int) -> bool | None:
        """Whether it counted; None while that is open."""
        ...

    async def withdraw(self, number: int) -> bool:
        """Whether it was still there."""
        ...

    async def waiting(self, *, since: datetime, limit: int) -> Sequence[ExecutionId]:
        """Executions that go on and have letters that have been on their way since then or longer."""
        ...

    async def purge(self, *, before: datetime) -> None:
        """Delete letters from before then that nobody takes: refused ones, and to executions that have ended."""
        ...


# Why an execution is cancelled by what became of another.
PARENT_HAS_ENDED: Final = "the execution that waited for it has ended"
PARENT_HAS_GONE_ON: Final = "the execution that waited for it has gone on"
REPLACED: Final = "replaced by a newer execution"


class Relatives(Protocol):
    """What executions do to each other. Each call returns at once; what it sets going survives a crash."""

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None: ...
    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        """End the flow of an execution. Handlers of its end that have begun go on."""
        ...

    def look_for_orphans(self, parent_id: ExecutionId) -> None:
        """Cancel what was started for steps of an execution that have gone on without it."""
        ...

    def turn_is_free(self, key: str) -> None:
        """Let executions in that wait for their turn under ``key``."""
        ...


class Dispatcher(Relatives, Protocol):
    """Decides which process advances an execution."""

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        """Done when the execution is durable; it runs by itself from then on.

        Raises:
            DuplicateRequest: If its idempotency key is taken.
            NotFound: If its flow is gone, or its account.
            NoTurn: If it has to wait for its turn, and is not queued.
            TooManyRequests: If it has to wait, and its account has as many waiting as it may.
            Unavailable: If the server is stopping.
        """
        ...

    async def cancel(self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None) -> None:
        """Done when the execution has ended. Raises: Conflict if it had ended before."""
        ...

    def replace(self, key: str, by: ExecutionId) -> None:
        """Cancel the executions under ``key`` that are older than ``by``, which waits for their turn."""
        ...

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        """Done when the signal is durable; False, and nothing done, if it is not awaited and has to be.

        Raises:
            Conflict: If the execution has ended.
            NotFound: If there is none.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentStep:
    """A step that starts an execution of another flow.

    Attributes:
        flows: The flows that led to it, its own last.
        failures: Tries of the step that have failed; each may start another execution.
    """

    execution_id: ExecutionId
    account_id: AccountId
    step: str
    failures: int
    flows: Sequence[FlowId]


class SubFlowStarter(Protocol):
    async def start(
        self, parent: ParentStep, flow: str, *, version: str | int | None, input: Mapping[str, JSON], wait: bool
    ) -> SubFlow:
        """See `plugin.SubFlows`."""
        ...


class Advancing(Protocol):
    """What advances executions in this process, or has others do it.

    Attributes:
        is_open: Whether it does.
        active: Executions in memory.
        queued: Executions that wait for room.
    """

    @property
    def is_open(self) -> bool: ...
    @property
    def active(self) -> int: ...
    @property
    def queued(self) -> int: ...

    async def open(self) -> None: ...

    async def drain(self, *, seconds: float) -> None:
        """Begin no further step, and wait for the ones under way."""
        ...

    async def close(self) -> None: ...


class OpenDispatcher(Dispatcher, Advancing, Protocol):
    """A dispatcher, as whoever starts and stops it sees it."""


class ActiveExecution(Protocol):
    """An execution while it is in memory."""

    @property
    def account_id(self) -> AccountId: ...
    @property
    def status(self) -> Status: ...

    async def advance(self) -> datetime | None:
        """Go on until the execution ends, or has to wait, or the engine stops.

        Returns:
            When a waiting execution is due; None if it has ended, waits for nothing but signals, or the
            engine is stopping.

        Raises:
            Fenced: Another process owns the execution, or it has ended there.
        """
        ...

    @property
    def is_ending(self) -> bool:
        """Whether the flow itself is over, for good; its handlers may still run."""
        ...

    def cancel(
        self, reason: str, audit: AuditEntry | None = None, *, spares_handlers: bool = False, letter: int | None = None
    ) -> None:
        """End the execution soon, whatever it is doing. Handlers of its end that have begun are cut off, or spared.

        Args:
            letter: The letter that the wish came by, which is gone once it is fulfilled.
        """
        ...

    def receive(self, signal: Signal, answer: "Future[bool]") -> None:
        """Take a signal. The answer comes when it is durable, or never if the execution leaves memory before."""
        ...

    def nudge(self) -> None:
        """Look again whether the engine is stopping."""
        ...


class Engine(Protocol):
    """Advances executions; which ones and when is the dispatcher's matter."""

    @property
    def is_stopping(self) -> bool: ...

    async def open(self) -> None:
        """Make this process the only one whose appends count."""
        ...

    async def join(self) -> None:
        """Share the journal: whoever loads an execution is the only one whose appends to it count."""
        ...

    def stop(self) -> None:
        """Begin no further step; the ones under way may end."""
        ...

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> ActiveExecution:
        """A new execution, durable when this returns.

        Args:
            at_once: Its first step starts now, and is recorded as started in the same append.

        Raises:
            DuplicateRequest: If its idempotency key is taken.
            NotFound: If its flow is gone, or its account.
            NoTurn: If it has to wait for its turn, and is not queued.
        """
        ...

    async def load(self, id: ExecutionId) -> ActiveExecution | None:
        """A stored execution, ready to go on; None if it has ended. Raises: NotFound."""
        ...

    async def end_of(self, id: ExecutionId) -> Signal | None:
        """What the parent of an execution is told of its end; None if it has not ended. Raises: NotFound."""
        ...

    async def left_behind(self, parent: ExecutionId, children: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        """Which of ``children`` no step of ``parent`` waits for, or is about to. Raises: NotFound."""
        ...

    async def replaces(self, id: ExecutionId) -> bool:
        """Whether a queued execution is to take the place of the ones before it. Raises: NotFound."""
        ...

    async def give_up(self, id: ExecutionId) -> None:
        """End an execution that a fault of ours keeps from going on, as failed."""
        ...


class Ownership(Protocol):
    """The right of one of several servers to be the active one.

    Attributes:
        is_held: This process may claim the database.
        epoch: The epoch of the last claim, by whoever made it, as it was seen last; None if nobody looks.
    """

    @property
    def is_held(self) -> bool: ...
    @property
    def epoch(self) -> int | None: ...

    async def until(self, condition: Callable[[], bool]) -> None:
        """Done when the condition holds; it is looked at whenever something about the ownership was seen."""
        ...


class Broadcast(Protocol):
    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None: ...


class Subscription(Protocol):
    async def take(self) -> Sequence[Recorded] | None:
        """The events since the last call, at least one; None if some were dropped meanwhile."""
        ...


class LiveEvents(Protocol):
    """The events of executions as they become durable."""

    def subscribe(self, execution_id: ExecutionId) -> Subscription:
        """The events of one execution from now on."""
        ...

    def unsubscribe(self, execution_id: ExecutionId, subscription: Subscription) -> None: ...
