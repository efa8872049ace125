"""URLs of PostgreSQL databases, as libpq writes them; nothing is taken from the environment of this process."""

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from flowrunner.domain.errors import quoted
from flowrunner.plugin import SqlDatabase

_SCHEMES: Final = ("postgresql", "postgres")
_PORT: Final = 5432
# The server has names of at most 63 bytes.
_MOST_CHARACTERS: Final = 1000
_FORM: Final = "postgresql://user:password@host:5432/database"
_BAD: Final = re.compile(r"[\x00-\x20\x7f]")
# A NUL would begin another field, and half of a pair of surrogates cannot be sent.
_BAD_IN_NAME: Final = re.compile(r"[\x00\ud800-\udfff]")
_BAD_IN_HOST: Final = re.compile(r"[,%\\]")
_MOST_PARAMETERS: Final = 20
_PARAMETERS: Final = ("sslmode", "channel_binding", "application_name", "connect_timeout", "sslrootcert")
_SECURITY: Final[Mapping[str, Literal["verified", "encrypted", "none"]]] = {
    "verify-full": "verified",
    "require": "encrypted",
    "disable": "none",
}
_BINDINGS: Final = ("disable", "prefer", "require")


def database_of(url: str) -> SqlDatabase:
    """Return the database that a URL names.

    Raises:
        ValueError: Its message has no part of the URL that may be a secret.
    """
    if _BAD.search(url):
        raise ValueError("must have no blanks or control characters: write them with a percent sign, as in %20")
    try:
        parts = urlsplit(url)
        port = _PORT if parts.port is None else parts.port
    except ValueError:
        # Its own words quote the URL.
        raise ValueError(
            f"must be like {_FORM}: write the characters / ? # [ ] @ : % of a password with a percent sign, as in %2F"
        ) from None
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"must begin with postgresql://, as in {_FORM}")
    if parts.fragment or "#" in url:
        raise ValueError("must have no '#': in a password, write %23")
    host = parts.hostname or ""
    if not host or _BAD_IN_HOST.search(host):
        raise ValueError(f"must name one server, as in {_FORM}; sockets of this machine cannot be used")
    if not parts.username:
        raise ValueError(f"must name a user, as in {_FORM}")
    user = _plain(parts.username, "user")
    given = _parameters(parts.query)
    database = _plain(parts.path.removeprefix("/"), "database") or user
    return SqlDatabase(
        host=host,
        port=port,
        user=user,
        database=database,
        password=None if parts.password is None else _plain(parts.password, "password"),
        security=_security(given.get("sslmode", "verify-full")),
        requires_channel_binding=given.get("channel_binding") == "require",
        application_name=given.get("application_name", "flowrunner"),
    )


def _plain(text: str, name: str) -> str:
    return _checked(unquote(text), name)


def _checked(found: str, name: str) -> str:
    if _BAD_IN_NAME.search(found) or len(found) > _MOST_CHARACTERS:
        raise ValueError(f"must have a {name} of at most {_MOST_CHARACTERS} characters without NUL, as Unicode text")
    return found


def _parameters(query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS) if query else []
    except ValueError:
        raise ValueError(f"must have at most {_MOST_PARAMETERS} parameters") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in _PARAMETERS:
            # A password with a question mark may have become a parameter.
            raise ValueError(f"must have no other parameters after the question mark than {', '.join(_PARAMETERS)}")
        if name in given:
            raise ValueError(f"must have the parameter '{name}' once")
        given[name] = _checked(value, name)
    if given.get("channel_binding", "prefer") not in _BINDINGS:
        raise ValueError(f"must have a 'channel_binding' that is one of {', '.join(_BINDINGS)}")
    if given.get("sslrootcert", "system") != "system":
        raise ValueError("must have no 'sslrootcert' but 'system': files of this machine are not read")
    return given


def _security(mode: str) -> Literal["verified", "encrypted", "none"]:
    if mode in ("prefer", "allow"):
        raise ValueError(
            f"must not have 'sslmode={mode}', by which whoever says that there is no TLS gets all in clear text: write "
            "verify-full, require or disable"
        )
    if mode not in _SECURITY:
        raise ValueError(f"must have an 'sslmode' of verify-full, require or disable, not {quoted(mode)}")
    return _SECURITY[mode]
