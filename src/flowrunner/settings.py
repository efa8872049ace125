"""The settings, each from a flag, a `FLOWRUNNER_…` variable or a key of `flowrunner.toml`."""

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from flowrunner.domain.duration import parse_duration
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.sign_on import Provider, providers_of
from flowrunner.domain.whole_numbers import is_whole_number

PREFIX: Final = "FLOWRUNNER_"
CONFIG_FILE: Final = "flowrunner.toml"
MASK: Final = "***"
# Value of `dispatch`: the server itself advances executions.
LOCAL: Final = "local"
# Variables of clients, which the server ignores.
_OF_CLIENTS: Final = frozenset(
    f"{PREFIX}{name}" for name in ("URL", "SERVER", "TOKEN", "TOKEN_FILE", "CONTEXT", "WORKSPACE")
)
# Variables of `flowrunner run --local`: each contains the value of a secret.
SECRET_PREFIX: Final = f"{PREFIX}SECRET_"


_SIZE: Final = re.compile(r"([0-9]{1,18})(|KiB|MiB|GiB|TiB)")
_MOST_DIGITS: Final = 18
_LEAST_TOKEN: Final = 16
_TLS_PORT: Final = 465
MOST_PROCESSES: Final = 64
_NAME: Final = re.compile(r"[a-z0-9._-]+")
_UNITS: Final = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class InvalidSettings(FlowRunnerError):
    """The faults of all settings, one per line."""


def _switch(value: str) -> bool:
    # A configuration file has words of its own for it.
    found = {"on": True, "True": True, "off": False, "False": False}.get(value)
    if found is None:
        raise ValueError("must be on or off")
    return found


def _providers(value: str) -> tuple[Provider, ...]:
    try:
        document = json.loads(value) if value.lstrip().startswith("{") else tomllib.loads(value)
    except ValueError:
        # Its message quotes the text, which has secrets.
        raise ValueError("is not TOML") from None
    return providers_of(document)


def _text(value: str) -> str:
    return value


def _host(value: str) -> str:
    # A socket that is bound to an empty address listens on all of them.
    if not value:
        raise ValueError("must be an address such as 127.0.0.1; 0.0.0.0 is every one of this machine")
    return value


def _whole_number(value: str) -> int:
    if not is_whole_number(value) or len(value) > _MOST_DIGITS:
        raise ValueError("must be a whole number")
    return int(value)


def _token(value: str) -> str:
    if len(value) < _LEAST_TOKEN or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"must have at least {_LEAST_TOKEN} letters, digits and signs, and no blanks")
    return value


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


def _processes(value: str) -> int:
    count = _count(value)
    if count > MOST_PROCESSES:
        raise ValueError(f"must be at most {MOST_PROCESSES}: each takes a processor")
    return count


def _limit(value: str) -> int | None:
    """Parse a limit; 0 becomes None, which means no limit."""
    limit = _whole_number(value)
    if limit < 0:
        raise ValueError("must be at least 0")
    return limit or None


def _bytes(value: str) -> int | None:
    """Parse a size; 0 becomes None, which means no limit."""
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError("must be a number of bytes, such as 10GiB, 500MiB or 1000000")
    return int(found[1]) * _UNITS[found[2]] or None


def _at_least(least: str) -> Callable[[str], float]:
    """Return a parser of durations that rejects shorter ones."""
    least_seconds = parse_duration(least)

    def parse(value: str) -> float:
        seconds = parse_duration(value)
        if seconds < least_seconds:
            raise ValueError(f"must be at least {least}")
        return seconds

    return parse


def _networks(value: str) -> tuple[Any, ...]:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(map(_network, parts))


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is neither an address nor a range, such as 10.1.0.0/16") from None
        raise ValueError(f"{text!r} is an address in a range: did you mean {meant}?") from None


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
    """Parse an address into the form of `Origin`: lower case, without a path and without a default port."""
    try:
        parts = urlsplit(value)
        # Reading the port checks it. Browsers send the ASCII form of a name.
        hostname, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        hostname = ""
    is_bare = hostname and parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not is_bare or parts.scheme not in ("http", "https"):
        raise ValueError("must be an address such as https://flows.example.com")
    host = f"[{hostname}]" if ":" in hostname else hostname
    is_default = port in (None, {"http": 80, "https": 443}[parts.scheme])
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{port}"


def _dispatch(value: str) -> str:
    if value != LOCAL and urlsplit(value).scheme != "temporal":
        raise ValueError("must be local, or an address such as temporal://127.0.0.1:7233/default?queue=flowrunner")
    return value


def postgres_url(value: str) -> str:
    """Check a PostgreSQL URL. Raises: ValueError without the text, which may contain a password."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = None
    if parts is not None and parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must be a URL such as postgresql://user:password@host/name")
    # Unescaped characters split a password, and its parts would be shown as a port or an option.
    if parts is None or parts.fragment or "@" in parts.path or "@" in parts.query:
        raise ValueError("cannot be read: write / ? # [ ] @ in a password as %2F %3F %23 %5B %5D %40")
    return value


def _smtp_url(value: str) -> str:
    """Check an SMTP URL. Raises: ValueError without the text, which may contain a password."""
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.path in ("", "/")
        # Reading the port checks it.
        is_usable = is_usable and parts.port != 0 and not parts.fragment
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(
            "must be a URL such as smtps://user:password@host?from=flows@example.com; "
            "write / ? # [ ] @ in a password as %2F %3F %23 %5B %5D %40"
        )
    if parts.scheme == "smtp" and parts.port == _TLS_PORT:
        # Both sides would wait for the other one until the timeout (RFC 8314, 7.3).
        raise ValueError(f"must begin with smtps:// at port {_TLS_PORT}, where servers expect TLS from the start")
    query = parse_qs(parts.query, keep_blank_values=True)
    if query.keys() - {"from"}:
        # Its name may be the rest of a password.
        raise ValueError("has an unknown parameter: the only one is 'from'; write ? in a password as %3F")
    for sender in query.get("from", ()):
        try:
            normal_email(sender)
        except ValueError:
            raise ValueError("'from' must be an e-mail address alone: smtp://host?from=flows@example.com") from None
    return value


def without_credentials(url: str) -> str:
    """Return host and database name of a URL that `postgres_url` accepts."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _path(value: str) -> Path:
    # An empty path would be the working directory.
    if not value:
        raise ValueError("must be a directory")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no such user: {value.partition('/')[0]}") from None


def data_home() -> Path:
    """Return the directory for the data of the user's programs.

    Raises:
        InvalidSettings: The user has no home directory, as in containers that run as any user.
    """
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError:
        raise InvalidSettings(
            f"{PREFIX}DATA_DIR: name a directory, because the user {os.geteuid()} has no home directory"
        ) from None


def _default_data_dir() -> Path:
    return data_home() / "flowrunner"


def setting(
    parse: Callable[[str], Any], help: str, *, default: Any = None, make: Callable[[], Any] | None = None,
    secret: bool = False,
) -> Any:  # fmt: skip
    """Declare a field of `Settings`, with its parser and its description in `flowrunner config`."""
    metadata = {"parse": parse, "help": help, "secret": secret}
    if make is not None:
        return field(default_factory=make, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    host: str = setting(_host, "Address to listen on. Other machines can reach any address but a loopback one.",
                        default="127.0.0.1")  # fmt: skip
    port: int = setting(_port, "Port to listen on; 0 picks a free one.", default=8080)
    public_url: str | None = setting(
        _origin, "Address that browsers use, if it differs: that of a reverse proxy with TLS."
    )
    allowed_hosts: tuple[str, ...] = setting(
        _names,
        "Host names that requests may use, besides that of public_url, localhost and IP addresses.",
        default=(),
    )
    data_dir: Path = setting(_path, "Directory of the database and the keys.", make=_default_data_dir)
    database_url: str | None = setting(
        postgres_url,
        "A PostgreSQL database to use instead of a file: postgresql://user:password@host/name.",
        secret=True,
    )
    database_readers: int = setting(
        _count, "Maximum of reading connections to PostgreSQL; three more are always open.", default=10
    )
    # PostgreSQL would take 0 as no limit.
    database_timeout: float = setting(
        _at_least("1s"), "Time limit of a PostgreSQL statement; at least one second.", default=30.0
    )
    dispatch: str = setting(
        _dispatch,
        "What advances executions: this server (local), or workers that Temporal assigns them to "
        "(temporal://host:port/namespace?queue=flowrunner).",
        default=LOCAL,
    )
    processes: int = setting(
        _processes,
        "Processes of the server without Temporal: with more than one, all but one of them advance executions.",
        default=1,
    )
    temporal_api_key: str | None = setting(_text, "API key for Temporal, such as Temporal Cloud's.", secret=True)
    admin_email: str | None = setting(_text, "E-mail address of the first admin, created if there is no account.")
    admin_password: str | None = setting(_text, "Password of the first admin.", secret=True)
    egress_allow: tuple[Any, ...] = setting(
        _networks, "Address ranges that flows may connect to although they are closed by default.", default=()
    )
    smtp_url: str | None = setting(
        _smtp_url,
        "The server that sends e-mails of callbacks, invitations and lost passwords: "
        "smtps://user:password@host?from=flows@example.com.",
        secret=True,
    )
    sign_up: str = setting(
        _choice("no", "admins", "invited"),
        "Whose invitations create accounts: nobody's (no), those of admins of the installation (admins), or by e-mail "
        "those of every admin of a workspace too (invited).",
        default="admins",
    )
    password_login: bool = setting(
        _switch, "Whether accounts log in with passwords (on), or with single sign-on only (off).", default=True
    )
    require_second_factor: bool = setting(
        _switch, "Whether a login with a password can only add a second factor until it has one (on).", default=False
    )
    sign_on: tuple[Provider, ...] = setting(
        _providers,
        "Providers of single sign-on (OpenID Connect), in TOML: see docs/sign-on.md.",
        default=(),
        secret=True,
    )
    sign_on_allow: tuple[Any, ...] = setting(
        _networks, "Address ranges in which providers of single sign-on are although they are closed by default.",
        default=(),
    )  # fmt: skip
    token_life: float = setting(
        _at_least("1s"), "Lifetime of a login without a refresh; at least one second.", default=86400.0
    )
    retention: float = setting(
        _at_least("5m"), "Time for which finished executions are kept; at least five minutes.", default=30 * 86400.0
    )
    retention_count: int | None = setting(
        _limit, "Finished executions of each flow that are kept, the latest; 0 is no limit.", default=None
    )
    # A database trigger always keeps the last day.
    audit_retention: float = setting(
        _at_least("2d"), "Time for which entries of the audit log are kept; at least two days.", default=90 * 86400.0
    )
    max_active: int = setting(
        _count, "Executions that are advanced at the same time; further ones wait in the database.", default=1000
    )
    workspace_active: int | None = setting(
        _limit, "Share of one workspace in max_active; 0 is no further limit.", default=500
    )
    workspace_queued: int | None = setting(
        _limit, "Executions of a workspace that may wait to be advanced; 0 is no limit.", default=20_000
    )
    execution_memory: int | None = setting(
        _bytes,
        "Memory of the values that executions of one process hold, half of it those of one workspace; 0 is no limit.",
        default=2**30,
    )
    account_requests: int | None = setting(_limit, "Requests of an account per minute; 0 is no limit.", default=120_000)
    account_changes: int | None = setting(
        _limit,
        "Requests of an account per hour that change anything but executions, jobs, and calls of MCP tools; 0 is no "
        "limit.",
        default=10_000,
    )
    anonymous_requests: int | None = setting(
        _limit, "Requests per minute without a valid token from one address; 0 is no limit.", default=6_000
    )
    hook_requests: int | None = setting(
        _limit, "Verified requests to one webhook trigger per minute; 0 is no limit.", default=60_000
    )
    anonymous_logins: int | None = setting(
        _limit, "Failed logins from one address within 15 minutes; 0 is no limit.", default=100
    )
    account_workspaces: int = setting(
        _count, "Workspaces of which an account may be an admin, beside its personal one.", default=20
    )
    workspace_flows: int | None = setting(_limit, "Flows of a workspace; 0 is no limit.", default=10_000)
    workspace_stored: int | None = setting(
        _bytes, "Bytes of a workspace in the database, such as 500MiB; 0 is no limit.", default=10 * 2**30
    )
    account_sockets: int | None = setting(
        _limit, "Open WebSockets and event streams of an account; 0 is no limit.", default=1_000
    )
    max_sockets: int = setting(_count, "Open WebSockets and event streams of all accounts.", default=5_000)
    trusted_proxies: tuple[Any, ...] = setting(
        _networks, "Addresses of proxies whose X-Forwarded-For is trusted.", default=()
    )
    script_workers: int = setting(
        _count, "Processes that evaluate JavaScript; started at the first expression that needs one.", default=2
    )
    drain_time: float = setting(
        parse_duration, "Time that running nodes have to finish when the server stops.", default=30.0
    )
    otel: str = setting(
        _choice("off", "on"),
        "Export traces, metrics and logs to an OpenTelemetry collector, by the variables OTEL_….",
        default="off",
    )
    metrics_token: str | None = setting(
        _token, "Bearer token that readers of /metrics need; with it, the metrics name flows.", secret=True
    )
    metrics_flows: int | None = setting(
        _limit,
        "Flows that the metrics name if there is a metrics_token, those that run most; 0 names none.",
        default=20,
    )
    log_level: str = setting(
        _choice("debug", "info", "warning", "error"), "Least severe level that the server logs.", default="info"
    )
    log_format: str = setting(_choice("text", "json"), "Format of the server's log.", default="text")


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """Return the settings. Flags take precedence over variables, variables over the file, the file over defaults.

    `FLOWRUNNER_…_FILE` reads a value from a file. The configuration file is `flowrunner.toml` in
    the working directory, or the one that `FLOWRUNNER_CONFIG` names.

    Raises:
        InvalidSettings: Contains every fault.
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
    if values.get("sign_on") and values.get("public_url") is None and not faults:
        faults.append(f"{PREFIX}SIGN_ON needs {PREFIX}PUBLIC_URL, the address that browsers return to")
    if faults:
        raise InvalidSettings("\n".join(faults))
    return Settings(**values)


def _from_file(
    environ: Mapping[str, str], known: Mapping[str, Field[Any]], faults: list[str]
) -> dict[str, tuple[str, str]]:
    named = environ.get(f"{PREFIX}CONFIG")
    path = Path(named or CONFIG_FILE)
    # `Path.exists` raises if the user may not read the directory.
    if named is None and not os.path.exists(path):
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        faults.append(f"{path}: {error}")
        return {}
    texts = {}
    for name, value in document.items():
        if name not in known:
            faults.append(f"{path}: unknown key '{name}'; known keys: {', '.join(known)}")
            continue
        if isinstance(value, dict):
            # TOML has dates, which no setting takes.
            text = json.dumps(value, default=str)
        else:
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
                texts[name] = (f"{variable}_FILE", Path(path).read_text(encoding="utf-8").removesuffix("\n"))
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
    """Return name, value and description of each setting, with secrets masked."""
    rows = []
    for known in fields(Settings):
        value = getattr(settings, known.name)
        if known.metadata["secret"] and value not in (None, ()):
            text = MASK
        elif isinstance(value, tuple):
            text = ",".join(map(str, value))
        elif isinstance(value, bool):
            text = "on" if value else "off"
        elif isinstance(value, float):
            text = f"{value:.12g}s"
        else:
            text = ("0" if known.metadata["parse"] in (_limit, _bytes) else "") if value is None else str(value)
        rows.append((known.name, text, known.metadata["help"]))
    return rows
