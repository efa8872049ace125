"""Checks of an installation that change nothing: its settings, files, database and environment."""

import contextlib
import http.client
import os
import resource
import shutil
import socket
import stat
import sys
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from flowrunner.bootstrap.dispatching import check_dispatch
from flowrunner.bootstrap.location import DATABASE_FILE, RESTORATION_FILE, stored_at
from flowrunner.bootstrap.memory_limit import HINT, memory_fault, memory_limit
from flowrunner.bootstrap.ownership import LOCK_FILE
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.sign_on import Provider, SignOnFailed
from flowrunner.domain.values import WorkspaceId
from flowrunner.security.keys import MASTER, SIGNING, UnsafeDataDir, key_id, read_keys
from flowrunner.settings import CONFIG_FILE, PREFIX, Settings, without_credentials
from flowrunner.storage.location import Location
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sqlite.quick_check import OLDEST, VERSION, faults_of, last_written_at
from flowrunner.tasks import all_ended

State: TypeAlias = Literal["ok", "warn", "fail"]

# As the platforms in docs/server.md.
_TESTED_PYTHONS: Final = ((3, 11), (3, 13))
_CHECK_SECONDS: Final = 20.0
_SLOW_READ_SECONDS: Final = 0.1
_LEAST_FREE: Final = 100 * 2**20
_WANTED_FREE: Final = 2**30
_WANTED_FILES: Final = 10_000
_OLDEST_KEY: Final = timedelta(days=366)
_SKEW: Final = timedelta(minutes=1)
# The latest time that is shown.
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
# A random key has fewer different bytes than this in one of 10**18 cases.
_LEAST_VARIED: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check.

    Attributes:
        hint: What to do; empty if all is well.
    """

    check: str
    state: State
    message: str
    hint: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Return the findings of all checks. Nothing is changed, and no finding contains a secret."""
    is_open = _is_open(settings.data_dir)
    return [
        *_settings(settings),
        *_python(),
        *_data_dir(settings),
        *(_keys(settings, has_data=await _has_data(settings)) if is_open else ()),
        *(await _database(settings) if is_open or settings.database_url is not None else ()),
        *(_clock(settings) if is_open else ()),
        *_disk(settings),
        *_port(settings),
        *_exposure(settings),
        *_mails(settings),
        *(await _sign_on(settings) if settings.sign_on else ()),
        *_open_files(),
        *_memory(settings),
    ]


def _settings(settings: Settings) -> Iterator[Finding]:
    yield Finding("settings", "ok", "all settings are valid; 'flowrunner config' prints them")
    file = Path(os.environ.get(f"{PREFIX}CONFIG") or CONFIG_FILE)
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077 and _has_secrets(file):
        yield Finding(
            "settings file", "warn", f"{file} holds passwords, and others can read it", f"run 'chmod 600 {file}'"
        )
    try:
        check_dispatch(settings)
    except FlowRunnerError as error:
        yield Finding("dispatch", "fail", str(error), "change FLOWRUNNER_DISPATCH, or install what it needs")


def _has_secrets(file: Path) -> bool:
    secrets = {known.name for known in fields(Settings) if known.metadata["secret"]}
    # The settings were read from it, so it can be parsed.
    return not secrets.isdisjoint(tomllib.loads(file.read_text()))


def _python() -> Iterator[Finding]:
    version, sqlite = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, VERSION))
    if VERSION < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield Finding("python", "fail", f"SQLite {sqlite} is older than {oldest}", "use a newer Python or system")
    elif sys.version_info[:2] not in _TESTED_PYTHONS:
        tested = ", ".join(f"{major}.{minor}" for major, minor in _TESTED_PYTHONS)
        yield Finding("python", "warn", f"Python {version} with SQLite {sqlite} is not tested", f"use one of {tested}")
    else:
        yield Finding("python", "ok", f"Python {version} with SQLite {sqlite}")


def _is_open(path: Path) -> bool:
    """Return whether this user may look into the directory, if there is one."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.access(path, os.R_OK | os.X_OK)


def _data_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir
    try:
        found = path.stat()
    except FileNotFoundError:
        yield Finding("data directory", "warn", f"there is no {path} yet", "the first start of the server creates it")
        return
    except OSError as error:
        hint = "run this and the server as the user that owns it"
        yield Finding("data directory", "fail", f"{path} cannot be reached: {error.strerror}", hint)
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        yield Finding("data directory", "fail", f"others can enter {path} (mode {mode:04o})", f"run 'chmod 700 {path}'")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield _closed(path, found)
    elif closed := [file for file in _files(path) if not os.access(file, os.R_OK | os.W_OK)]:
        yield _closed(closed[0], closed[0].stat())
    else:
        yield Finding("data directory", "ok", f"{path}, mode {mode:04o}")


def _files(data_dir: Path) -> list[Path]:
    """Return the files of the data directory that the server writes and that exist."""
    names = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", LOCK_FILE)
    return [path for path in (data_dir / name for name in names) if path.exists()]


def _closed(path: Path, found: os.stat_result) -> Finding:
    """Return the finding for a file or directory that this user cannot write."""
    if found.st_uid == os.geteuid():
        message = f"{path} cannot be written (mode {stat.S_IMODE(found.st_mode):04o})"
        return Finding("data directory", "fail", message, "let its owner write, and its file system be written")
    hint = f"run this and the server as the user {found.st_uid}, or change the owner"
    return Finding("data directory", "fail", f"{path} belongs to the user {found.st_uid}", hint)


async def _has_data(settings: Settings) -> bool:
    # Why a database does not answer is a finding of its own.
    with contextlib.suppress(FlowRunnerError):
        return await stored_at(settings).has_data()
    return False


def _keys(settings: Settings, *, has_data: bool) -> Iterator[Finding]:
    directory = settings.data_dir / "keys"
    if not directory.exists():
        yield (
            Finding(
                "keys",
                "fail",
                f"{directory} is missing beside a database",
                "restore it from your backup, or copy it from another server of the database",
            )
            if has_data
            else Finding("keys", "warn", f"there is no {directory} yet", "the first start of the server creates it")
        )
        return
    for kind in (MASTER, SIGNING):
        name, path = f"{kind} key", directory / f"{kind}.key"
        try:
            keys = read_keys(settings.data_dir, kind)
            age = datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except (UnsafeDataDir, OSError) as error:
            yield Finding(name, "fail", str(error), "correct its rights, or restore it from your backup")
            continue
        if any(len(set(key)) < _LEAST_VARIED for key in keys):
            yield Finding(name, "fail", f"{path} is not random", f"run 'flowrunner keys rotate {kind}'")
        elif age > _OLDEST_KEY:
            yield Finding(
                name, "warn", f"{path} is {counted(age.days, 'day')} old", f"run 'flowrunner keys rotate {kind}'"
            )
        else:
            yield Finding(name, "ok", f"256 bits, {counted(max(age.days, 0), 'day')} old")


async def _database(settings: Settings) -> list[Finding]:
    url, path = settings.database_url, settings.data_dir / DATABASE_FILE
    place = str(path) if url is None else without_credentials(url)
    if url is None and not path.exists():
        if (draft := settings.data_dir / RESTORATION_FILE).exists():
            hint = f"run 'flowrunner restore' again, or delete {draft} to start without data"
            return [Finding("database", "fail", f"there is no {path}: a restoration was interrupted", hint)]
        return [Finding("database", "warn", f"there is no {path} yet", "the first start of the server creates it")]
    location = stored_at(settings)
    try:
        warnings = await location.check(to_serve=True)
        # The schema of a file is read last, because reading it opens the file for writing.
        faults = faults_of(path, seconds=_CHECK_SECONDS) if url is None else []
        schema = await location.schema() if not faults else None
    except FlowRunnerError as error:
        return [_unusable(place, error)]
    found = [Finding("database settings", "warn", warning, "change it in PostgreSQL") for warning in warnings]
    if faults:
        hint = "stop the server and restore a backup: flowrunner restore"
        found.append(Finding("integrity", "fail", f"{place} is damaged: {faults[0]}", hint))
    elif url is None and faults is None:
        message = f"{place} is too large for a check in {_CHECK_SECONDS:.0f} s; 'flowrunner backup' checks its copy"
        found.append(Finding("integrity", "ok", message))
    elif url is None:
        found.append(Finding("integrity", "ok", "SQLite's quick check found no fault"))
    if schema is None:
        return found
    if schema.is_usable:
        try:
            stored = await _stored(location, settings)
        except FlowRunnerError as error:
            # An outage that has just begun.
            return [*found, _unusable(place, error)]
        found += [Finding("database", "ok", f"{place} answers, with the schema {schema.revision}"), *stored]
    elif schema.is_newer or schema.is_obsolete:
        message = f"{place} has the schema {schema.revision} of another version"
        found.append(Finding("database", "fail", message, "use the version of FlowRunner that wrote it"))
    elif schema.revision is None:
        found.append(
            Finding("database", "warn", f"{place} is empty", "the first start of the server creates its tables")
        )
    else:
        message = f"{place} has the schema {schema.revision}"
        found.append(Finding("database", "warn", message, "make a backup; the start of the server migrates it"))
    return found


def _unusable(place: str, error: FlowRunnerError) -> Finding:
    return Finding("database", "fail", f"{place}: {error}", "see docs/postgresql.md and docs/backup.md")


async def _stored(location: Location, settings: Settings) -> list[Finding]:
    database = location.open()
    try:
        pause = SqlPause(database)
        paused_at = await pause.paused_at()
        # The connection is open from here on, and the quickest read is that of a database which is not busy by chance.
        took = min([await _seconds_of(pause.paused_at) for _ in range(3)])
        needed = await SqlSecrets(database).master_key_ids()
    finally:
        await database.close()
    found = []
    if paused_at is not None:
        message = f"no execution starts since {paused_at:%Y-%m-%d %H:%M:%S} UTC"
        found.append(Finding("pause", "warn", message, "run 'flowrunner unpause' to end the pause"))
    if settings.database_url is not None and took > _SLOW_READ_SECONDS:
        message = f"the database answers the smallest question in {took * 1000:.0f} ms"
        hint = "look at its load, and at the network in between: each commit takes several such answers"
        found.append(Finding("database speed", "warn", message, hint))
    # Keys that cannot be read are findings of their own.
    with contextlib.suppress(UnsafeDataDir, OSError):
        if not needed <= {key_id(MASTER, key) for key in read_keys(settings.data_dir, MASTER)}:
            message = "the master key in the data directory is not the one that encrypted the stored secrets"
            hint = "restore the files keys/master*.key from your backup: the server does not start without them"
            found.append(Finding("secrets", "fail", message, hint))
    return found


async def _seconds_of(read: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await read()
    return time.perf_counter() - begun


def _clock(settings: Settings) -> Iterator[Finding]:
    now = datetime.now(UTC)
    written = None
    if settings.database_url is None and (settings.data_dir / DATABASE_FILE).exists():
        written = last_written_at(settings.data_dir / DATABASE_FILE)
    if written is not None and written > to_ms(now + _SKEW):
        last = from_ms(min(written, to_ms(_LATEST)))
        message = (
            f"it is {now:%Y-%m-%d %H:%M:%S} UTC, and the last entry of the audit log is of {last:%Y-%m-%d %H:%M:%S}"
        )
        yield Finding("clock", "fail", message, "set the clock, and let NTP keep it")
    else:
        yield Finding("clock", "ok", f"it is {now:%Y-%m-%d %H:%M:%S} UTC")


def _disk(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is not None:
        # Only the keys are in the data directory then.
        return
    place = next(path for path in (settings.data_dir, *settings.data_dir.absolute().parents) if os.path.exists(path))
    free = shutil.disk_usage(place).free
    message = f"{free / 2**30:.1f} GiB are free at {place}"
    if free < _LEAST_FREE:
        yield Finding("disk", "fail", message, "make room: a full disk stops all executions")
    elif free < _WANTED_FREE:
        yield Finding("disk", "warn", message, "make room, or keep executions for a shorter time (retention)")
    else:
        yield Finding("disk", "ok", message)


def _port(settings: Settings) -> Iterator[Finding]:
    host = _reachable(settings.host)
    address = f"{host} port {settings.port}"
    if settings.port == 0:
        yield Finding("port", "ok", "the server takes a free port")
        return
    connection = http.client.HTTPConnection(host, settings.port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(4096)
    except (ConnectionRefusedError, socket.gaierror):
        yield Finding("port", "ok", f"{address} is free; no server runs there")
        return
    except (OSError, http.client.HTTPException):
        yield Finding("port", "fail", f"another program is on {address}", "stop it, or choose another --port")
        return
    finally:
        connection.close()
    if not any(said in text for said in (b'{"status"', b'{"error"')):
        yield Finding("port", "fail", f"another program is on {address}", "stop it, or choose another --port")
    elif answer.status == 200:
        yield Finding("port", "ok", f"a server on {address} is ready")
    else:
        yield Finding("port", "warn", f"a server on {address} is not ready", "its answer at /readyz says why")


def _reachable(host: str) -> str:
    """Return an address of this machine at which a server that listens on ``host`` answers."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    loopback = "127.0.0.1" if address.version == 4 else "::1"
    return loopback if address.is_unspecified else host


def _exposure(settings: Settings) -> Iterator[Finding]:
    public = settings.public_url
    try:
        is_local = ip_address(settings.host).is_loopback
    except ValueError:
        is_local = settings.host == "localhost"
    if public is None:
        yield (
            Finding("public_url", "ok", "not set: the server is for this machine")
            if is_local
            else Finding(
                "public_url", "warn", f"the server listens on {settings.host} without TLS",
                "put a proxy with TLS in front, and set public_url to its address",
            )
        )  # fmt: skip
    elif public.startswith("http://") and urlsplit(public).hostname not in ("localhost", "127.0.0.1", "::1"):
        yield Finding("public_url", "warn", f"{public} has no TLS", "passwords and tokens can be read on the way")
    else:
        yield Finding("public_url", "ok", public)
    if any(network.prefixlen == 0 for network in settings.trusted_proxies):
        hint = "name the addresses of your proxies alone: now every caller can claim any address"
        yield Finding("trusted_proxies", "fail", "every address is trusted", hint)
    elif public is not None and public.startswith("https://") and not settings.trusted_proxies:
        hint = "name the address of the proxy: without it all callers share one limit"
        yield Finding("trusted_proxies", "warn", "no proxy is named", hint)
    else:
        yield Finding("trusted_proxies", "ok", ",".join(map(str, settings.trusted_proxies)) or "none")


def _mails(settings: Settings) -> Iterator[Finding]:
    if settings.smtp_url is None or settings.public_url is None:
        lacking = "smtp_url" if settings.smtp_url is None else "public_url"
        if settings.sign_up == "invited":
            message = f"sign_up is 'invited', and nobody gets its links by e-mail: {lacking} is not set"
            yield Finding("e-mails", "warn", message, f"set {lacking}")
            return
        if settings.smtp_url is not None:
            message = "no e-mails about invitations, lost passwords and logins are sent: public_url is not set"
            yield Finding("e-mails", "warn", message, "set public_url, which their links begin with")
            return
    yield Finding("e-mails", "ok", "none are sent" if settings.smtp_url is None else "an SMTP server is named")


async def _sign_on(settings: Settings) -> list[Finding]:
    # Most installations have no provider, and no need of a client.
    from flowrunner.bootstrap.resources import sign_on_policy
    from flowrunner.clock import SystemClock
    from flowrunner.security.egress import EgressClients
    from flowrunner.security.openid import HttpOpenIdClient

    http = EgressClients(sign_on_policy(settings, frozenset({settings.port})))
    client = HttpOpenIdClient(http.of(WorkspaceId("sign-on")), SystemClock())

    async def check(provider: Provider) -> Finding:
        name = f"sign-on {provider.id}"
        try:
            await client.check(provider)
        except SignOnFailed as error:
            hint = "nobody logs in by it: check its issuer in sign_on, the network, and sign_on_allow if it is private"
            return Finding(name, "fail", str(error), hint)
        return Finding(name, "ok", f"{provider.issuer} answers as the settings say")

    try:
        return await all_ended(*map(check, settings.sign_on))
    finally:
        await http.close()


def _memory(settings: Settings) -> Iterator[Finding]:
    limit = memory_limit()
    if (fault := memory_fault(settings, limit)) is not None:
        yield Finding("memory", "warn", fault, HINT)
    else:
        yield Finding("memory", "ok", "no limit" if limit is None else f"the limit is {limit // 2**20} MiB")


def _open_files() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _WANTED_FILES:
        hint = "raise it for many connections: LimitNOFILE= of systemd, or ulimit -Hn"
        yield Finding("open files", "warn", f"a process may open {hard}", hint)
    else:
        yield Finding(
            "open files", "ok", "no limit" if hard == resource.RLIM_INFINITY else f"a process may open {hard}"
        )
