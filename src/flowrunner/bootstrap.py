"""Builds the running program from its settings; the only module that sees all of it.

What the program does by itself, its first admin and the housekeeping, is here too.
"""

import asyncio
import contextlib
import fcntl
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog
from fastapi import FastAPI

from flowrunner.api.browser import Browser
from flowrunner.api.live import Live
from flowrunner.api.proxies import Proxies
from flowrunner.api.server import build_app
from flowrunner.api.standby import STANDBY
from flowrunner.broadcast import LocalBroadcast
from flowrunner.clock import SystemClock
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.dispatch.temporal.address import InvalidAddress, TemporalAddress
from flowrunner.domain.errors import Conflict, FlowRunnerError, InvalidInput, Unavailable
from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.limits import Limits
from flowrunner.domain.values import AccountId
from flowrunner.engine.engine import FlowEngine
from flowrunner.engine.world import World
from flowrunner.metrics import CountingBroadcast, Metrics
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeType
from flowrunner.ports import Advancing, Engine, Journal, KeyKind, KeyRotation, OpenDispatcher, Ownership, Page
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.credentials import Argon2Hasher, JwtIssuer
from flowrunner.security.egress import EgressClient, EgressPolicy
from flowrunner.security.keys import (
    MASTER,
    SIGNING,
    KeyRing,
    UnsafeDataDir,
    load_keys,
    open_data_dir,
    told_of_rights,
    write_private,
)
from flowrunner.security.rotation import FileKeyRotator
from flowrunner.security.vault import AesVault, MasterKeys, WrongKey
from flowrunner.services.accounts import Accounts
from flowrunner.services.audit import AuditLog
from flowrunner.services.bundle import Services
from flowrunner.services.executions import Executions
from flowrunner.services.flows import Flows, ReadyFlows
from flowrunner.services.identity import Identity
from flowrunner.services.keys import Keys
from flowrunner.services.language import Language
from flowrunner.services.rates import Rates
from flowrunner.services.reruns import Reruns
from flowrunner.services.secrets import Secrets
from flowrunner.services.setup import FirstAccount
from flowrunner.services.signals import Signals
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.throttle import Throttle
from flowrunner.services.tokens import Tokens, TokenUses
from flowrunner.settings import LOCAL, InvalidSettings, Settings
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.audit_chain import ChainReport
from flowrunner.storage.database import Database
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.keys import SqlKeyRotations, name_of
from flowrunner.storage.letters import SqlLetters
from flowrunner.storage.location import Location, location_of
from flowrunner.storage.migrations import HEAD
from flowrunner.storage.rooms import SqlRooms
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sessions import SqlSessions
from flowrunner.storage.tokens import SqlTokens
from flowrunner.storage.usage import SqlUsage

logger = structlog.get_logger()

DATABASE_FILE: Final = "flowrunner.db"
SETUP_TOKEN_FILE: Final = "setup-token"  # noqa: S105 # a file's name
_HOUSEKEEPING_SECONDS: Final = 3600.0
_SETTLING_SECONDS: Final = 300.0
_ROTATION_SECONDS: Final = 300.0
_TOKEN_USES_SECONDS: Final = 60.0
_READY_SECONDS: Final = 1.0
# How old what a process knows of others' acts may be: ended sessions, new secrets.
_NEWS_SECONDS: Final = 2.0


@dataclass(slots=True)
class Readiness:
    """Tells why the program cannot serve at the moment; None when it can."""

    dispatcher: OpenDispatcher
    database: Database
    is_standby: bool = False
    is_stopping: bool = False

    async def __call__(self) -> str | None:
        if self.is_stopping:
            return "stopping"
        if not self.is_standby and not self.dispatcher.is_open:
            return "the engine is not active"
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self.database.check_readable()
        except (TimeoutError, Unavailable):
            return "the database does not answer"
        if self.is_standby:
            return STANDBY
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self.database.check_writable()
        except (TimeoutError, Unavailable):
            return "the database cannot be written"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The parts that starting and stopping has to do with."""

    app: FastAPI
    services: Services
    setup: FirstAccount
    live: Live
    broadcast: LocalBroadcast
    dispatcher: OpenDispatcher
    advancing: Advancing
    world: World
    database: Database
    vault: AesVault
    rotator: FileKeyRotator
    token_uses: TokenUses
    readiness: Readiness
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is in the data directory and the database, opened."""

    database: Database
    secrets: SqlSecrets
    vault: AesVault
    tokens: JwtIssuer
    rotator: FileKeyRotator
    keys: Keys


@contextlib.asynccontextmanager
async def open_data(
    settings: Settings,
    *,
    clock: SystemClock,
    metrics: Metrics,
    is_standby: bool = False,
    is_serving: bool = True,
) -> AsyncIterator[Stored]:
    """Hold the data directory and open what is in it, and the database.

    Args:
        is_standby: Another server is active, so nothing is written.
        is_serving: The process serves or works; otherwise no other one does.

    Raises:
        FlowRunnerError: If the data directory, the keys or the database are not fit to start with.
    """
    open_data_dir(settings.data_dir)
    location = stored_at(settings)
    has_file = settings.database_url is None
    # Who may write into a database server is known by the ownership; several servers may share the keys.
    with _lock(settings.data_dir) if has_file else contextlib.nullcontext():
        keys = load_keys(settings.data_dir, has_data=await location.has_data())
        if has_file:
            _make_private(settings.data_dir / DATABASE_FILE)
        if not is_standby:
            await location.migrate()
        database = location.open(on_commit=metrics.commit_size.observe, is_standby=is_standby)
        try:
            secrets = SqlSecrets(database)
            master_keys = MasterKeys(keys.master, keys.others[MASTER])
            signing_keys = KeyRing(SIGNING, keys.signing, keys.others[SIGNING])
            await _check_master_keys(secrets, master_keys)
            vault = AesVault(secrets, master_keys)
            rotations = SqlKeyRotations(database)
            rotator = FileKeyRotator(
                settings.data_dir,
                rotations=rotations,
                secrets=secrets,
                vault=vault,
                master_keys=master_keys,
                signing_keys=signing_keys,
                clock=clock,
                token_life=timedelta(seconds=settings.token_life),
                is_shared=is_serving and is_shared(settings),
            )
            await rotator.follow()
            yield Stored(
                database=database,
                secrets=secrets,
                vault=vault,
                tokens=JwtIssuer(signing_keys),
                rotator=rotator,
                keys=Keys(rotations, rotator, clock),
            )
        finally:
            await database.close()


@contextlib.asynccontextmanager
async def open_program(
    settings: Settings,
    *,
    own_ports: frozenset[int] = frozenset(),
    is_standby: bool = False,
    is_worker: bool = False,
) -> AsyncIterator[Program]:
    """The whole program but its network side, with every unfinished execution going on.

    Args:
        is_standby: Another server is active: nothing goes on, and nothing is written.
        is_worker: It advances its share of the executions that Temporal places.

    Raises:
        FlowRunnerError: If the data directory, the keys or the database are not fit to start with.
    """
    clock, metrics = SystemClock(), Metrics()
    async with open_data(settings, clock=clock, metrics=metrics, is_standby=is_standby) as stored:
        hasher = Argon2Hasher()
        http = EgressClient(EgressPolicy(settings.egress_allow, own_ports))
        sandbox = JailedSandbox(settings.script_workers)
        try:
            program = _assemble(
                settings=settings,
                stored=stored,
                clock=clock,
                metrics=metrics,
                hasher=hasher,
                http=http,
                sandbox=sandbox,
                dispatch=await _dispatch(settings, stored, clock, is_worker=is_worker),
            )
            async with _hearing(settings, program) if is_standby or is_shared(settings) else contextlib.nullcontext():
                if is_standby:
                    program.readiness.is_standby = True
                    yield program
                    return
                await program.dispatcher.open()
                try:
                    if program.advancing is not program.dispatcher:
                        await program.advancing.open()
                    yield program
                finally:
                    if program.advancing is not program.dispatcher:
                        await program.advancing.close()
                    await program.dispatcher.close()
        finally:
            await sandbox.close()
            await http.close()
            hasher.close()


# What makes the dispatcher of a program for its engine, and what advances executions in this process.
_Dispatch: TypeAlias = Callable[[Engine, Journal, Limits], tuple[OpenDispatcher, Advancing]]


async def _dispatch(settings: Settings, stored: Stored, clock: SystemClock, *, is_worker: bool) -> _Dispatch:
    if not is_shared(settings):

        def local(engine: Engine, journal: Journal, limits: Limits) -> tuple[OpenDispatcher, Advancing]:
            dispatcher = LocalDispatcher(engine, journal, clock, most_active=settings.max_active, limits=limits)
            return dispatcher, dispatcher

        return local
    try:
        from flowrunner.dispatch.temporal.connection import connect
        from flowrunner.dispatch.temporal.courier import Courier
        from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
        from flowrunner.dispatch.temporal.door import Door
        from flowrunner.dispatch.temporal.worker import TemporalWorker
    except ImportError:
        raise FlowRunnerError("Temporal needs its client: pip install 'flowrunner[temporal]'") from None
    address = TemporalAddress.read(settings.dispatch)
    client = await connect(address, api_key=settings.temporal_api_key)

    def temporal(engine: Engine, journal: Journal, limits: Limits) -> tuple[OpenDispatcher, Advancing]:
        letters = SqlLetters(stored.database)
        courier = Courier(client, address.queue, journal=journal, letters=letters, vault=stored.vault, clock=clock)
        door = Door(SqlRooms(stored.database), courier, clock, limits=limits)
        dispatcher = TemporalDispatcher(engine, courier, door, journal=journal, letters=letters, clock=clock)
        if not is_worker:
            return dispatcher, dispatcher
        return dispatcher, TemporalWorker(
            engine, courier, letters, door, clock, client=client, queue=address.queue, most_active=settings.max_active
        )

    return temporal


def is_shared(settings: Settings) -> bool:
    """Whether several processes are active on one database.

    Raises:
        InvalidSettings: If they do not go together.
    """
    if settings.dispatch == LOCAL:
        return False
    if settings.database_url is None:
        raise InvalidSettings("Temporal's workers share a PostgreSQL database: set FLOWRUNNER_DATABASE_URL")
    try:
        TemporalAddress.read(settings.dispatch)
    except InvalidAddress as error:
        raise InvalidSettings(f"FLOWRUNNER_DISPATCH: {error}") from None
    return True


def stored_at(settings: Settings) -> Location:
    """Where the program stores."""
    return location_of(
        settings.database_url,
        file=settings.data_dir / DATABASE_FILE,
        readers=settings.database_readers,
        statement_seconds=settings.database_timeout,
    )


@contextlib.asynccontextmanager
async def owning(settings: Settings) -> AsyncIterator[Ownership]:
    """Try to be the active server on the database, or one of those that share the work, from now on.

    Raises:
        FlowRunnerError: If the database server will not do.
    """
    location = stored_at(settings)
    for warning in await location.check():
        logger.warning("database.unsafe", warning=warning)
    async with location.ownership(is_shared=is_shared(settings)) as ownership:
        yield ownership


async def is_newest_schema(settings: Settings) -> bool:
    """Whether the database is as this version has it. Raises: FlowRunnerError."""
    return await stored_at(settings).revision() == HEAD


@contextlib.asynccontextmanager
async def _hearing(settings: Settings, program: Program) -> AsyncIterator[None]:
    """Subscribers are told of what other processes record, and what those end or change is seen here, too."""
    broadcast = program.broadcast
    tasks = (
        asyncio.create_task(
            program.database.listen(
                name=lambda: name_of(program.rotator.holder),
                on_news=broadcast.hear,
                on_gap=broadcast.hear_of_all,
            ),
            name="listener",
        ),
        asyncio.create_task(_look_again(program), name="news"),
    )
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _look_again(program: Program) -> None:
    while True:
        await asyncio.sleep(_NEWS_SECONDS)
        program.services.identity.look_again()
        program.vault.look_again()
        try:
            await program.live.look_again()
        except Unavailable as error:
            logger.warning("sessions.not_looked_at", reason=str(error))
        try:
            await program.rotator.follow()
        except Unavailable as error:
            logger.warning("keys.not_looked_at", reason=str(error))


def node_type_specs(node_types: Mapping[str, NodeType[Any]] | None = None) -> Mapping[str, NodeTypeSpec]:
    """What the flow language knows of the node types: of the built-in ones, unless others are given."""
    return {name: node_type.spec() for name, node_type in (node_types or built_in()).items()}


def _assemble(
    *,
    settings: Settings,
    stored: Stored,
    clock: SystemClock,
    metrics: Metrics,
    hasher: Argon2Hasher,
    http: EgressClient,
    sandbox: JailedSandbox,
    dispatch: _Dispatch,
) -> Program:
    database, vault = stored.database, stored.vault
    node_types = built_in()
    specs = node_type_specs(node_types)
    journal, broadcast = SqlJournal(database), LocalBroadcast()
    flow_store, account_store, reader = SqlFlows(database), SqlAccounts(database), SqlExecutions(database)
    library = ReadyFlows(flow_store, specs)
    schemas = RustSchemas()
    world = World(
        journal=journal,
        library=library,
        vault=vault,
        broadcast=CountingBroadcast(broadcast, metrics),
        sandbox=sandbox,
        node_types=node_types,
        http=http,
        clock=clock,
        draw=random.SystemRandom().random,
    )
    limits = Limits(
        active=settings.account_active,
        queued=settings.account_queued,
        flows=settings.account_flows,
        stored=settings.account_stored,
        sockets=settings.account_sockets,
    )
    usage = SqlUsage(database)
    dispatcher, advancing = dispatch(FlowEngine(world), journal, limits)
    executions = Executions(
        reader,
        flow_store,
        library,
        dispatcher,
        usage=usage,
        limits=limits,
        clock=clock,
        sandbox=sandbox,
        schemas=schemas,
    )
    world.connect(relatives=dispatcher, flows=SubFlowExecutions(executions, flow_store))
    language = Language(specs, schemas, sandbox)
    token_store = SqlTokens(database)
    uses = TokenUses(token_store)
    audit = AuditLog(SqlAudit(database), clock)
    identity = Identity(
        account_store,
        SqlSessions(database),
        token_store,
        uses,
        audit=audit,
        hasher=hasher,
        tokens=stored.tokens,
        clock=clock,
        token_life=timedelta(seconds=settings.token_life),
        throttle=Throttle(most_of_address=settings.anonymous_logins),
    )

    async def on_delete(account_id: AccountId) -> None:
        await executions.cancel_all(account_id)
        vault.forget(account_id)

    accounts = Accounts(account_store, hasher, clock, on_sessions_end=identity.sessions_ended, on_delete=on_delete)
    services = Services(
        identity=identity,
        rates=Rates(
            clock,
            most=settings.account_requests,
            most_anonymous=settings.anonymous_requests,
            most_changes=settings.account_changes,
        ),
        audit=audit,
        tokens=Tokens(token_store, uses, clock, on_end=identity.sessions_ended),
        accounts=accounts,
        secrets=Secrets(stored.secrets, vault, clock),
        keys=stored.keys,
        flows=Flows(flow_store, stored.secrets, language, clock, usage=usage, limits=limits),
        language=language,
        executions=executions,
        signals=Signals(reader, journal, dispatcher, schemas, clock),
        reruns=Reruns(executions, reader, journal, flow_store, library),
    )
    live = Live(services, journal, broadcast, clock, limits=limits, most=settings.max_sockets)
    identity.on_end(live.end_sessions)
    token_file = settings.data_dir / SETUP_TOKEN_FILE
    setup = FirstAccount(accounts, clock, on_done=lambda: token_file.unlink(missing_ok=True))
    metrics.gauge("flowrunner_executions_active", "Executions in memory.", lambda: advancing.active)
    metrics.gauge(
        "flowrunner_executions_queued",
        "Executions that wait for room; with Temporal of all processes, also those that no worker has begun yet.",
        lambda: dispatcher.queued,
    )
    metrics.gauge("flowrunner_sockets_open", "Open WebSockets.", lambda: live.open_sockets)

    readiness = Readiness(dispatcher, database)
    metrics.gauge(
        "flowrunner_standby", "1 while another server is active and this one waits.", lambda: readiness.is_standby
    )
    return Program(
        app=build_app(
            services,
            live,
            setup=setup,
            readiness=readiness,
            metrics=metrics.text,
            refused=metrics.refused,
            browser=Browser(settings.public_url),
            proxies=Proxies(settings.trusted_proxies),
        ),
        services=services,
        setup=setup,
        live=live,
        broadcast=broadcast,
        dispatcher=dispatcher,
        advancing=advancing,
        world=world,
        database=database,
        vault=vault,
        rotator=stored.rotator,
        token_uses=uses,
        readiness=readiness,
        metrics=metrics,
    )


async def _check_master_keys(store: SqlSecrets, master_keys: MasterKeys) -> None:
    if not await store.master_key_ids() <= master_keys.ids:
        raise WrongKey(
            "The master key in the data directory is not the one that the stored secrets were "
            "encrypted with: restore the files keys/master*.key from your backup"
        )


@contextlib.contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """Hold the data directory, which one server may use at a time."""
    path = data_dir / "lock"
    _make_private(path)
    with told_of_rights(path):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FlowRunnerError(
                f"Another FlowRunner server is using {data_dir}: stop it, or choose another --data-dir"
            ) from None
        yield


def _make_private(path: Path) -> None:
    """Make the database if it is new, and close it and its log to others. Raises: UnsafeDataDir."""
    with told_of_rights(path):
        if not path.exists():
            path.touch(mode=0o600)
    # A backup that was put back has the mode that a copy gets.
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if file.exists() and file.stat().st_mode & 0o077:
            try:
                file.chmod(0o600)
            except OSError as error:
                raise UnsafeDataDir(f"{file} can be read by others, and cannot be closed: {error.strerror}") from None


async def keep_house(settings: Settings, program: Program) -> None:
    """Delete what has been kept for long enough, now and then."""
    # What nobody was there to tell of is told first: of an execution that is deleted, its parent would never hear.
    await asyncio.sleep(_SETTLING_SECONDS)
    while True:
        try:
            purged = await program.services.executions.purge(older_than=timedelta(seconds=settings.retention))
            await program.services.flows.purge()
            await program.services.identity.purge()
            await program.services.audit.tell_untold()
            await program.services.audit.purge(older_than=timedelta(seconds=settings.audit_retention))
            if purged:
                logger.info("executions.purged", count=purged)
        except Exception:
            # It is tried again in time, and nothing else waits for it.
            logger.exception("housekeeping.failed")
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)


async def keep_token_uses(program: Program) -> None:
    """Write when API tokens were used, once a minute and once more at the end."""
    try:
        while True:
            await asyncio.sleep(_TOKEN_USES_SECONDS)
            with contextlib.suppress(Unavailable):
                await program.token_uses.write()
    finally:
        with contextlib.suppress(Unavailable):
            await program.token_uses.write()


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the database to the schema of this version; gives the schema of before, and the present one.

    Raises:
        FlowRunnerError: If it cannot be, or a server is using the file.
    """
    location = stored_at(settings)
    await location.check()
    before = await location.revision()
    if settings.database_url is not None:
        await location.migrate()
        return before, HEAD
    open_data_dir(settings.data_dir)
    if before is None:
        # It belongs with the keys, which the first start makes.
        raise FlowRunnerError(f"There is no database in {settings.data_dir}: the first start of the server makes it")
    with _lock(settings.data_dir):
        await location.migrate()
    return before, HEAD


async def schema_of(settings: Settings) -> tuple[str | None, str]:
    """The schema that the database has, and the one of this version. Raises: FlowRunnerError."""
    location = stored_at(settings)
    await location.check()
    return await location.revision(), HEAD


async def copy_installation(source: Path, url: str, *, tell: Callable[[str, int], None]) -> dict[str, int]:
    """Copy a SQLite database with all that is in it into an empty PostgreSQL database, and compare the two.

    Args:
        tell: Is told of each table that has arrived, and how many rows it has.

    Returns:
        The number of rows by table.

    Raises:
        FlowRunnerError: If nothing was copied; the message says why.
    """
    from flowrunner.storage.copying import copy_to_postgres

    target = location_of(url, file=source)
    revision = await location_of(None, file=source).revision()
    if revision is None:
        raise FlowRunnerError(f"There is no database {source}")
    if revision != HEAD:
        raise FlowRunnerError(f"{source} is of another version: start the server of this version on it once")
    await target.check()
    with _lock(source.parent):
        async with target.ownership() as ownership:
            if not ownership.is_held:
                raise FlowRunnerError("A FlowRunner server is using the target: stop it first")
            await target.migrate()
            return await copy_to_postgres(source, url, tell=tell)


async def verify_audit(
    settings: Settings, *, copy: Path | None = None, expected: tuple[int, str] | None
) -> ChainReport:
    """Check the audit log of the database, also while a server is using it, or of a copy of the file.

    Raises:
        FlowRunnerError: If there is no such database, or no audit log in it.
    """
    location = stored_at(settings) if copy is None else location_of(None, file=copy)
    return await location.check_audit(expected=expected)


async def rotate_stored_keys(settings: Settings, kinds: Sequence[KeyKind]) -> Sequence[KeyRotation]:
    """Replace keys while no server runs; gives the rotations that were asked for, as they are then.

    Raises:
        FlowRunnerError: If the data directory is not fit for it, or a server is using it.
    """
    if settings.database_url is None and not (settings.data_dir / DATABASE_FILE).exists():
        raise FlowRunnerError(f"There is no database in {settings.data_dir}: start the server first")
    async with owning(settings) as ownership:
        if not ownership.is_held:
            raise FlowRunnerError("A FlowRunner server is active on the database: stop it, or ask it to replace keys")
        return await _rotate(settings, kinds)


async def _rotate(settings: Settings, kinds: Sequence[KeyKind]) -> Sequence[KeyRotation]:
    async with open_data(settings, clock=SystemClock(), metrics=Metrics(), is_serving=False) as stored:
        if await stored.rotator.others():
            raise FlowRunnerError(
                "Servers or workers are running on the database: ask a server to replace keys, or stop all of them"
            )
        asked = [rotation.id for rotation in await stored.keys.request(None, kinds)]
        await stored.keys.advance()
        rotations, _ = await stored.keys.page(Page(limit=100, offset=0))
        return [rotation for rotation in reversed(rotations) if rotation.id in asked]


async def rotate_keys(program: Program) -> None:
    """Go on with rotations of keys, when one is asked for and now and then."""
    while True:
        is_waiting = False
        try:
            is_waiting = await program.services.keys.advance()
        except Exception:
            # What is left to do follows from what is stored.
            logger.exception("keys.rotation_failed")
        await program.services.keys.wait(seconds=_NEWS_SECONDS if is_waiting else _ROTATION_SECONDS)


def in_url(host: str) -> str:
    """An address as the host of a URL, where one of IPv6 stands in brackets."""
    return f"[{host}]" if ":" in host else host


async def first_admin(settings: Settings, program: Program, port: int) -> None:
    """Make the account that makes all others, or tell how to.

    Raises:
        FlowRunnerError: If the settings name one that cannot be made.
    """
    accounts = program.services.accounts
    token_file = settings.data_dir / SETUP_TOKEN_FILE
    if await accounts.is_set_up():
        token_file.unlink(missing_ok=True)
        return
    if settings.admin_email is not None and settings.admin_password is not None:
        try:
            await accounts.create_first(
                name=settings.admin_email.partition("@")[0] or "admin",
                email=settings.admin_email,
                password=settings.admin_password,
            )
        except InvalidInput as error:
            raise FlowRunnerError(f"The first admin cannot be made: {error}") from None
        except Conflict:
            pass
        return
    token_file.unlink(missing_ok=True)
    token = program.setup.issue_token()
    write_private(token_file, token + "\n")
    url = f"http://{in_url(settings.host)}:{port}/api/v1/setup"
    print(
        f"There is no account yet. Create the first admin within 24 hours:\n\n"
        f'  curl {url} -H \'Content-Type: application/json\' -d \'{{"token": "{token}",\n'
        f'    "name": "Your Name", "email": "you@example.com", "password": "…"}}\'\n\n'
        f"The token is also in {token_file}.",
        file=sys.stderr,
        flush=True,
    )
