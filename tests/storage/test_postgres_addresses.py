"""The servers that a URL of PostgreSQL names are those that asyncpg connects to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from asyncpg import connect_utils

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.postgres.servers import servers_at, socket_port


def connected_to(url: str) -> Sequence[tuple[str, int] | str]:
    """Return what asyncpg connects to: host and port, or the path of a socket."""
    names = (
        "host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile", "direct_tls",
        "server_settings", "target_session_attrs", "krbsrvname", "gsslib",
    )  # fmt: skip
    addresses, _ = connect_utils._parse_connect_dsn_and_args(dsn=url, **dict.fromkeys(names))
    return list(addresses)


def as_asyncpg(host: str, port: int) -> tuple[str, int] | str:
    if not host.startswith("/"):
        return host, port
    return host if ".s.PGSQL." in host else f"{host}/.s.PGSQL.{port}"


@pytest.mark.parametrize(
    "variables",
    [{}, {"PGPORT": "6543"}, {"PGHOST": "h.example:7,/run/x"}, {"PGHOST": "a,b", "PGPORT": "1,2"}, {"PGPORT": ""}],
)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db/fr", "postgresql://u@db:6432/fr?sslmode=require", "postgres://db/fr", "postgresql:///fr",
        "postgresql://u@/fr", "postgresql://a,b/fr?port=5432,5433", "postgresql://a:1,b/fr", "postgresql://a:1,b:2/fr",
        "postgresql://a,b/fr", "postgresql:///fr?host=a,b&port=5432,5433", "postgresql:///fr?host=a:9,b&port=7",
        "postgresql:///fr?host=a&host=b", "postgresql:///fr?port=7", "postgresql://a/fr?host=b&port=7",
        "postgresql:///fr?host=/run/postgresql", "postgresql://u@%2Frun%2Fpostgresql/fr?port=7",
        "postgresql://u@/fr?host=/tmp/.s.PGSQL.7000", "postgresql://u@/fr?host=/tmp&port=6000",
        "postgresql://u:p%40x@[::1]/fr", "postgresql://[fd00::7]:7,x/fr", "postgresql://u:p@x@db/fr",
        "postgresql://db%2Eexample:%37/fr", "postgresql:///fr?service=one", "postgresql://u@db/fr?service=one",
        "postgresql:///fr?service=two", "postgresql:///fr?service=none",
        "postgresql://db:²/fr", "postgresql://a,b/fr?port=1,2,3", "postgresql://a,,b/fr", "postgresql://[x/fr",
    ],
)  # fmt: skip
def test_they_are_those_of_asyncpg(
    url: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "services").write_text("[one]\nhost=s.example\nport=9\n[two]\nport=10\n")
    environment = {**variables, "PGSERVICEFILE": str(tmp_path / "services")}
    for name in ("PGHOST", "PGPORT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected: Any
    try:
        expected = connected_to(url)
    except Exception:
        with pytest.raises(FlowRunnerError, match="FLOWRUNNER_DATABASE_URL"):
            servers_at(url, environment)
        return

    assert [as_asyncpg(host, port) for host, port in servers_at(url, environment)] == expected


def test_a_socket_has_the_port_of_its_name() -> None:
    assert socket_port("/tmp/.s.PGSQL.7000", 5432) == 7000
    assert socket_port("/tmp", 5432) == 5432
