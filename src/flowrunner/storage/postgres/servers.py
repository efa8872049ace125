"""The servers that a URL names, by the rules of asyncpg, which has no public function for them."""

import configparser
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from flowrunner.domain.errors import FlowRunnerError

_PORT: Final = "5432"
_DEFAULT_HOSTS: Final = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp", "localhost")  # noqa: S108 # nosec B108
_IPV6: Final = re.compile(r"\[([^\]]+)\](?::([0-9]+))?")
_SOCKET: Final = re.compile(r"\.s\.PGSQL\.(\d+)$", re.ASCII)


def servers_at(url: str, environment: Mapping[str, str]) -> Sequence[tuple[str, int]]:
    """Return host and port of each server that connections are made to.

    The host of a Unix socket is its path: that of a directory, or of the socket itself.

    Args:
        environment: Variables such as `PGHOST`, which say what the URL does not.

    Raises:
        FlowRunnerError: No connection can be made by this URL.
    """
    try:
        return _servers_at(url, environment)
    except (ValueError, IndexError, OSError, RuntimeError, configparser.Error):
        raise FlowRunnerError("FLOWRUNNER_DATABASE_URL must name a server, or as many ports as servers") from None


def socket_port(path: str, port: int) -> int:
    """Return the port by which a Unix socket is called."""
    found = _SOCKET.search(path)
    return port if found is None else int(found[1])


def _servers_at(url: str, environment: Mapping[str, str]) -> Sequence[tuple[str, int]]:
    parts = urlsplit(url)
    query = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    options = {name: values[-1] for name, values in query.items()}
    otherwise = _numbers(environment.get("PGPORT") or _PORT)
    hosts: Sequence[str] = ()
    ports: Sequence[int] = ()
    before, at, after = parts.netloc.partition("@")
    if listed := after if at else before:
        hosts, ports = _listed(listed, ports, otherwise, is_quoted=True)
    for given in (options, _service(options.get("service"), environment)):
        if not ports and given.get("port"):
            ports = _numbers(given["port"])
        if not hosts and given.get("host"):
            hosts, ports = _listed(given["host"], ports, otherwise)
    if not hosts and environment.get("PGHOST"):
        hosts, ports = _listed(environment["PGHOST"], ports, otherwise)
    hosts = hosts or _DEFAULT_HOSTS
    return list(zip(hosts, _for_each(hosts, ports or otherwise), strict=True))


def _listed(
    text: str, ports: Sequence[int], otherwise: Sequence[int], *, is_quoted: bool = False
) -> tuple[Sequence[str], Sequence[int]]:
    """Return the hosts of a list, and their ports: these, or else those of the list."""
    specs = text.split(",")
    defaults = _for_each(specs, ports or otherwise)
    hosts, found = [], []
    for spec, default in zip(specs, defaults, strict=True):
        if spec[0] == "/":
            host, port = spec, ""
        elif spec[0] == "[":
            match = _IPV6.match(spec)
            if match is None:
                raise ValueError("no address")
            host, port = match[1], match[2] or ""
        else:
            host, _, port = spec.partition(":")
        hosts.append(unquote(host) if is_quoted else host)
        # Ports that are given for all replace those of the list.
        found.append(default if ports or not port else int(unquote(port) if is_quoted else port))
    return hosts, found


def _for_each(hosts: Sequence[str], ports: Sequence[int]) -> Sequence[int]:
    if len(ports) == 1:
        return [ports[0]] * len(hosts)
    if len(ports) != len(hosts):
        raise ValueError("other ports than hosts")
    return ports


def _numbers(text: str) -> Sequence[int]:
    return [int(port) for port in text.split(",")]


def _service(name: str | None, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a file of services says about one."""
    if name is None:
        return {}
    services = configparser.ConfigParser()
    services.read(environment.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
    return services[name] if name in services.sections() else {}
