"""Every setting, read once: a flag, a `FLOWRUNNER_…` variable, or a key of `flowrunner.toml`."""

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import FlowRunnerError

PREFIX: Final = "FLOWRUNNER_"
CONFIG_FILE: Final = "flowrunner.toml"
MASK: Final = "***"
# Executions are advanced by the server itself.
LOCAL: Final = "local"
# Read by programs that talk to a server, not by the server.
_OF_CLIENTS: Final = frozenset({f"{PREFIX}TOKEN", f"{PREFIX}URL", f"{PREFIX}SERVER"})
# Read by `flowrunner run --local`: each is the value of a secret.
SECRET_PREFIX: Final = f"{PREFIX}SECRET_"


_SIZE: Final = re.compile(r"([0-9]{1,18})(|KiB|MiB|GiB|TiB)")
_NAME: Final = re.compile(r"[a-z0-9._-]+")
_UNITS: Final = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class InvalidSettings(FlowRunnerError):
    """Settings have mistakes: all of them, a line each."""


def _text(value: str) -> str:
    return value


def _whole_number(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _port(value: str) -> int:
    port = _whole_number(value)
    if not 0 <= port <= 65535:
        raise ValueError("must be between 0 and 65535")
    return port


def _count(value: str) -> int:
    count = _whole_number(value)
    if count < 1:
        raise ValueError("must be at least 1")
    return count


def _limit(value: str) -> int | None:
    """None is no limit."""
    limit = _whole_number(value)
    if limit < 0:
        raise ValueError("must be at least 0")
    return limit or None


def _bytes(value: str) -> int | None:
    """None is no limit."""
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError("must be a number of bytes, such as 10GiB, 500MiB or 1000000")
    return int(found[1]) * _UNITS[found[2]] or None


def _at_least(least: str) -> Callable[[str], float]:
    """A duration that is not shorter."""
    least_seconds = parse_duration(least)

    def parse(value: str) -> float:
        seconds = parse_duration(value)
        if seconds < least_seconds:
            raise ValueError(f"must be at least {least}")
        return seconds

    return parse


def _networks(value: str) -> tuple[Any, ...]:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(ipaddress.ip_network(part) for part in parts)


def _names(value: str) -> tuple[str, ...]:
    names = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError("must be names such as flows.example.com, without https:// and without a port")
    return names


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def _origin(value: str) -> str:
    """An address as browsers write it in `Origin`: no path, no default port, lower case."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("must be an address such as https://flows.example.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{parts.port}"


def _dispatch(value: str) -> str:
    if value != LOCAL and urlsplit(value).scheme != "temporal":
        raise ValueError("must be local, or an address such as temporal://127.0.0.1:7233/default?queue=flowrunner")
    return value


def postgres_url(value: str) -> str:
    """Raises: ValueError, in which there is nothing of the text, as there may be a password in it."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = None
    if parts is not None and parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must be a URL such as postgresql://user:password@host/name")
    # What a password is cut into by its own characters, others would show as a port or an option.
    if parts is None or parts.fragment or "@" in parts.path or "@" in parts.query:
        raise ValueError("cannot be read: write / ? # [ ] @ in a password as %2F %3F %23 %5B %5D %40")
    return value


def without_credentials(url: str) -> str:
    """Host and name of the database of a URL that `postgres_url` takes."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _path(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no such user: {value.partition('/')[0]}") from None


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "flowrunner"


def setting(
    parse: Callable[[str], Any], help: str, *, default: Any = None, make: Callable[[], Any] | None = None,
    secret: bool = False,
) -> Any:  # fmt: skip
    """A field of `Settings`, with how its text is read and what `flowrunner config` says of it."""
    metadata = {"parse": parse, "help": help, "secret": secret}
    if make is not None:
        return field(default_factory=make, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    host: str = setting(_text, "Address to listen on. Anything but a loopback address is reachable by others.",
                        default="127.0.0.1")  # fmt: skip
    port: int = setting(_port, "Port to listen on; 0 picks a free one.", default=8080)
    public_url: str | None = setting(
        _origin, "Address that browsers use, if it is another: that of a reverse proxy with TLS."
    )
    allowed_hosts: tuple[str, ...] = setting(
        _names,
        "Names that requests may give as their host, besides that of public_url, localhost and any address.",
        default=(),
    )
    data_dir: Path = setting(_path, "Where the database and the keys are.", make=_default_data_dir)
    database_url: str | None = setting(
        postgres_url,
        "A PostgreSQL database to use instead of a file: postgresql://user:password@host/name.",
        secret=True,
    )
    database_readers: int = setting(
        _count, "Connections to PostgreSQL that read, at most; there are three more.", default=10
    )
    # To PostgreSQL, none at all is no limit.
    database_timeout: float = setting(
        _at_least("1s"), "How long one statement may take in PostgreSQL; at least a second.", default=30.0
    )
    dispatch: str = setting(
        _dispatch,
        "Who advances executions: this server (local), or workers that Temporal gives them to "
        "(temporal://host:port/namespace?queue=flowrunner).",
        default=LOCAL,
    )
    temporal_api_key: str | None = setting(_text, "API key for Temporal, such as Temporal Cloud's.", secret=True)
    admin_email: str | None = setting(_text, "E-mail address of the first admin, made if there is no account.")
    admin_password: str | None = setting(_text, "Password of the first admin.", secret=True)
    egress_allow: tuple[Any, ...] = setting(
        _networks, "Address ranges that flows may connect to although they are closed by default.", default=()
    )
    token_life: float = setting(
        _at_least("1s"), "How long a login lasts without a refresh; at least a second.", default=86400.0
    )
    retention: float = setting(parse_duration, "How long an ended execution is kept.", default=30 * 86400.0)
    # The database itself keeps the last day, whatever is set.
    audit_retention: float = setting(
        _at_least("2d"), "How long an entry of the audit log is kept; at least two days.", default=90 * 86400.0
    )
    max_active: int = setting(
        _count, "Executions advanced at once; further ones wait their turn in the database.", default=1000
    )
    account_active: int | None = setting(
        _limit, "How many of them may be of one account; 0 is no limit but that.", default=500
    )
    account_queued: int | None = setting(
        _limit, "Executions of an account that may wait for their turn; 0 is no limit.", default=20_000
    )
    account_requests: int | None = setting(
        _limit, "Requests that an account may make in a minute; 0 is no limit.", default=120_000
    )
    account_changes: int | None = setting(
        _limit,
        "Changes of flows, secrets, API tokens and itself that an account may make in an hour; 0 is no limit.",
        default=10_000,
    )
    anonymous_requests: int | None = setting(
        _limit, "Requests in a minute without a valid token from one address; 0 is no limit.", default=6_000
    )
    anonymous_logins: int | None = setting(
        _limit, "Logins from one address that may fail within 15 minutes; 0 is no limit.", default=100
    )
    account_flows: int | None = setting(_limit, "Flows that an account may have; 0 is no limit.", default=10_000)
    account_stored: int | None = setting(
        _bytes, "What an account may keep in the database, such as 500MiB; 0 is no limit.", default=10 * 2**30
    )
    account_sockets: int | None = setting(
        _limit, "WebSockets that an account may have open; 0 is no limit.", default=1_000
    )
    max_sockets: int = setting(_count, "WebSockets that may be open in all.", default=5_000)
    trusted_proxies: tuple[Any, ...] = setting(
        _networks, "Addresses of proxies that are believed where a request comes from, by X-Forwarded-For.", default=()
    )
    script_workers: int = setting(
        _count, "Processes that evaluate JavaScript; they start with the first expression that needs one.", default=2
    )
    drain_time: float = setting(
        parse_duration, "How long running nodes may take to end when the server stops.", default=30.0
    )
    log_level: str = setting(
        _choice("debug", "info", "warning", "error"), "Least severe level that the server logs.", default="info"
    )
    log_format: str = setting(_choice("text", "json"), "How the server writes its log.", default="text")


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """The settings in force: a flag wins over a variable, that over the file, that over the default.

    `FLOWRUNNER_…_FILE` reads a value from a file. The configuration file is `flowrunner.toml` in
    the working directory, or the one that `FLOWRUNNER_CONFIG` names.

    Raises:
        InvalidSettings: With every mistake.
    """
    faults: list[str] = []
    known = {f.name: f for f in fields(Settings)}
    texts = _from_file(environ, known, faults)
    texts |= _from_environment(environ, known, faults)
    texts |= {name: (f"--{name.replace('_', '-')}", value) for name, value in flags.items() if value is not None}
    values: dict[str, Any] = {}
    for name, (source, text) in texts.items():
        try:
            values[name] = known[name].metadata["parse"](text)
        except ValueError as error:
            faults.append(f"{source}: {error}")
    if ("admin_email" in values) != ("admin_password" in values):
        faults.append(f"{PREFIX}ADMIN_EMAIL and {PREFIX}ADMIN_PASSWORD: give both, or neither")
    if faults:
        raise InvalidSettings("\n".join(faults))
    return Settings(**values)


def _from_file(
    environ: Mapping[str, str], known: Mapping[str, Field[Any]], faults: list[str]
) -> dict[str, tuple[str, str]]:
    named = environ.get(f"{PREFIX}CONFIG")
    path = Path(named or CONFIG_FILE)
    # Where the user may not look (a volume of another's), `Path.exists` raises.
    if named is None and not os.path.exists(path):
        return {}
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        faults.append(f"{path}: {error}")
        return {}
    texts = {}
    for name, value in document.items():
        if name not in known:
            faults.append(f"{path}: unknown key '{name}'; known keys: {', '.join(known)}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        texts[name] = (f"{path}: {name}", text)
    return texts


def _from_environment(
    environ: Mapping[str, str], known: Mapping[str, Field[Any]], faults: list[str]
) -> dict[str, tuple[str, str]]:
    texts = {}
    for name in known:
        variable = f"{PREFIX}{name.upper()}"
        if variable in environ and f"{variable}_FILE" in environ:
            faults.append(f"{variable} and {variable}_FILE: give one of them")
        elif variable in environ:
            texts[name] = (variable, environ[variable])
        elif (path := environ.get(f"{variable}_FILE")) is not None:
            try:
                texts[name] = (f"{variable}_FILE", Path(path).read_text().removesuffix("\n"))
            except (OSError, UnicodeDecodeError) as error:
                faults.append(f"{variable}_FILE: {error}")
    allowed = {f"{PREFIX}{name.upper()}{end}" for name in known for end in ("", "_FILE")} | {f"{PREFIX}CONFIG"}
    faults += [
        f"{variable}: there is no such setting; see 'flowrunner config'"
        for variable in environ
        if variable.startswith(PREFIX)
        and variable not in allowed | _OF_CLIENTS
        and not variable.startswith(SECRET_PREFIX)
    ]
    return texts


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each setting, secrets masked."""
    rows = []
    for known in fields(Settings):
        value = getattr(settings, known.name)
        if known.metadata["secret"] and value is not None:
            text = MASK
        elif isinstance(value, tuple):
            text = ",".join(map(str, value))
        elif isinstance(value, float):
            text = f"{value:.12g}s"
        else:
            text = ("0" if known.metadata["parse"] in (_limit, _bytes) else "") if value is None else str(value)
        rows.append((known.name, text, known.metadata["help"]))
    return rows
