"""The node type `sql`, by a real PostgreSQL server."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flowrunner.bootstrap.location import own_servers
from flowrunner.plugin import NodeFailure
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.settings import Settings
from support.networks import LOOPBACK
from support.postgres import PostgresServer, query
from support.sql import Querier, url_for
from support.tls import Issuer

LONG_PASSWORD = "Pä/ss@w#rd:?%x"


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    query(url, "CREATE TYPE mood AS ENUM ('sad', 'glad')")
    query(url, "CREATE DOMAIN facts AS jsonb")
    return url


@pytest.fixture
def db(database: str) -> Querier:
    query(database, "DROP TABLE IF EXISTS orders")
    query(database, "CREATE TABLE orders (id int PRIMARY KEY, total numeric(9,2), note text, facts jsonb, tags text[])")
    return Querier(url_for(database))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1::smallint", 1),
        ("9223372036854775807::bigint", 2**63 - 1),
        ("1.50::numeric", "1.50"),
        ("'NaN'::numeric", "NaN"),
        ("0.1::float8", 0.1),
        ("'-Infinity'::float8", "-Infinity"),
        ("'NaN'::real", "NaN"),
        ("true", True),
        ("NULL::text", None),
        ("''", ""),
        ("'é\"\\'", 'é"\\'),
        ("""'{"a": [1, null, {"b": "c"}]}'::jsonb""", {"a": [1, None, {"b": "c"}]}),
        ("'null'::json", None),
        ("'\\xdeadbeef'::bytea", "3q2+7w=="),
        ("'2027-01-31'::date", "2027-01-31"),
        ("'2027-01-31 10:00:00.5'::timestamp", "2027-01-31T10:00:00.5"),
        ("'2027-01-31 10:00:00.25+05:30'::timestamptz", "2027-01-31T04:30:00.250000Z"),
        ("'infinity'::timestamptz", "infinity"),
        ("'294276-12-31 23:59:59+00'::timestamptz", "294276-12-31 23:59:59+00"),
        ("'0044-03-15 BC'::date", "0044-03-15 BC"),
        ("'10:00'::time", "10:00:00"),
        ("interval '1 year 2 days -3.5 seconds'", "P1Y2DT-3.5S"),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("int4range(1, 5)", "[1,5)"),
        ("'glad'::mood", "glad"),
        ("""'{"a": 1}'::facts""", {"a": 1}),
        ("ROW(1, 'a')", "(1,a)"),
        ("ARRAY[1, NULL, 3]", [1, None, 3]),
        ("ARRAY[]::int[]", []),
        ("ARRAY[[1, 2], [3, NULL]]", [[1, 2], [3, None]]),
        ("ARRAY['a', 'NULL', '', NULL]", ["a", "NULL", "", None]),
        ("ARRAY[['a b', 'c,\"d'], ['NULL', 'e\\f']]", [["a b", 'c,"d'], ["NULL", "e\\f"]]),
        ("'[2:3]={5,6}'::int[]", [5, 6]),
        ("""ARRAY['{"a": "b,c"}'::jsonb, NULL]""", [{"a": "b,c"}, None]),
        ("ARRAY['\\x00ff'::bytea]", ["AP8="]),
        ("'9.9.9.9'::inet", "9.9.9.9"),
    ],
)
async def test_values_come_back_as_json(db: Querier, expression: str, value: Any) -> None:
    found = await db.value(f"SELECT {expression}")

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("int", 7), ("int", "7"), ("bigint", 2**62), ("numeric", "1.10"), ("float8", 1e21), ("float8", -0.5),
        ("text", "x'; DROP TABLE orders; --"), ("text", 'a\\b"c\n$1'), ("bool", False), ("int", None),
        ("jsonb", {"a": [1, "x", None]}), ("jsonb", "text"), ("jsonb", [1]), ("json", 1.5), ("facts", {"a": 1}),
        ("int[]", [1, None, 3]), ("text[]", ['a"b\\', "NULL", "", None]), ("int[]", []), ("jsonb[]", [{"a": 1}, [2]]),
        ("int[]", [[1, 2], [3, 4]]), ("mood", "sad"), ("bytea", "AP8="), ("date", "2027-01-31"),
        ("timestamptz", "2027-01-31T04:30:00Z"), ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("interval", "P1DT2H"),
    ],
)  # fmt: skip
async def test_arguments_arrive_as_values_of_the_type_that_the_query_gives_them(
    db: Querier, type: str, value: Any
) -> None:
    found = await db.value(f"SELECT $1::{type}", value)

    assert found == (int(value) if (type, value) == ("int", "7") else value)


async def test_a_fraction_of_zero_is_a_whole_number(db: Querier) -> None:
    assert await db.value("SELECT $1::int", 5.0) == 5


@pytest.mark.parametrize(
    ("statement", "args", "type", "said"),
    [
        ("SELECT $1::int", [{}], "input.invalid", "args.0 ($1) cannot be a value of the type integer: it is an object"),
        ("SELECT $1::int, $2::text", [1, [2]], "input.invalid", "args.1 ($2) cannot be a value of the type text: it"),
        ("SELECT $1::bytea", ["ü"], "input.invalid", "args.0 ($1) cannot be a value of the type bytea: it is not"),
        ("SELECT $1::int[]", [[{}]], "input.invalid", "args.0 ($1) cannot be a value of the type integer[]"),
        ("SELECT $1::int", [], "input.invalid", "The query has the parameter $1, and 0 values are given"),
        ("SELECT 1", [1], "input.invalid", "The query has no parameter, and 1 value is given"),
        ("SELECT $1::int", ["abc"], "sql.22P02", 'type integer: "abc" (args.0)'),
        ("SELECT $1::text, $2::date", ["abc", "x"], "sql.22007", 'type date: "x" (args.1)'),
        ("SELECT $1::text", ["\ud800"], "input.invalid", "a value of the type text: it is not Unicode text"),
        ("SELECT $1::jsonb", [["\ud800"]], "input.invalid", "a value of the type jsonb: it is not Unicode text"),
        ("SELECT $1::int", [1.5], "sql.22P02", 'invalid input syntax for type integer: "1.5"'),
        ("SELECT 1 AS a, 2 AS a", [], "sql.duplicate_column", "two columns called 'a': name them with AS"),
        (f"SELECT 1 AS {'c' * 63}, 2 AS {'c' * 63}", [], "sql.duplicate_column", f"two columns called '{'c' * 63}'"),
        ("SELECT 1; SELECT 2", [], "sql.42601", "multiple commands"),
        ("SELECT \0", [], "input.invalid", "The query must have no NUL"),
        ("SELECT $1::text", ["a\0b"], "sql.22021", "invalid byte sequence"),
        ("DELETE FROM orders", [], "sql.25006", "in a read-only transaction: changes need 'operation: execute'"),
        ("COPY orders TO STDOUT", [], "sql.copy", "COPY cannot be used"),
        ("SELECT * FROM nothing", [], "sql.42P01", 'relation "nothing" does not exist'),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_named(db: Querier, statement: str, args: list[Any], type: str, said: str) -> None:
    failed = await db.fail(statement, args=args)

    assert failed.type == type
    assert said in failed.message


async def test_a_change_that_a_read_only_server_rejects_is_not_said_to_be_in_a_query(
    db: Querier, postgres: PostgresServer, database: str
) -> None:
    name = database.rpartition("/")[2]
    query(postgres.url(), f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        failed = await db.fail("INSERT INTO orders (id) VALUES (1)", operation="execute")
    finally:
        query(postgres.url(), f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert failed.type == "sql.25006"
    assert failed.message.startswith("cannot execute INSERT in a read-only transaction: 127.0.0.1:")
    assert failed.message.endswith(" accepts no changes at present")


async def test_execute_changes_rows_and_returns_what_it_is_asked_for(db: Querier) -> None:
    first = await db.run("INSERT INTO orders (id) VALUES (1), (2) RETURNING id", operation="execute")
    second = await db.run("UPDATE orders SET total = $1", operation="execute", args=["7.5"])
    third = await db.run("CREATE INDEX ON orders (total)", operation="execute")

    assert first == {"rows": [{"id": 1}, {"id": 2}], "row_count": 2}
    assert second == {"rows": [], "row_count": 2}
    assert third == {"rows": [], "row_count": 0}
    assert await db.rows("SELECT id, total FROM orders ORDER BY id") == [
        {"id": 1, "total": "7.50"},
        {"id": 2, "total": "7.50"},
    ]


async def test_items_are_inserted_in_portions_of_one_transaction(db: Querier) -> None:
    items = [{"id": n, "total": f"{n}.25", "note": None, "facts": {"n": n}, "tags": ["a", str(n)]} for n in range(2500)]

    result = await db.run(operation="batch_insert", table="public.orders", items=items)
    again = await db.fail(operation="batch_insert", table="orders", items=[{"id": 3000}, {"id": 4}])

    assert result == {"rows": [], "row_count": 2500}
    assert await db.rows("SELECT * FROM orders WHERE id = 2499") == [
        {"id": 2499, "total": "2499.25", "note": None, "facts": {"n": 2499}, "tags": ["a", "2499"]}
    ]
    assert isinstance(again.data, dict)
    assert (again.type, again.data["item"]) == ("sql.23505", 1)
    assert again.message.endswith("(items.1)")
    assert await db.value("SELECT count(*) FROM orders") == 2500


async def test_rows_that_exist_are_skipped_or_updated(db: Querier) -> None:
    await db.run("INSERT INTO orders (id, note, total) VALUES (1, 'old', 1)", operation="execute")
    items = [{"id": 1, "note": "new", "total": 2}, {"id": 2, "note": "new", "total": 2}]
    insert: dict[str, Any] = {"operation": "batch_insert", "table": "orders", "items": items}

    skipped = await db.run(**insert, on_conflict="nothing")
    some = await db.run(**insert, on_conflict={"columns": ["id"], "update": ["note"]})
    between = await db.rows("SELECT id, note, total FROM orders ORDER BY id")
    every = await db.run(**insert, on_conflict={"columns": ["id"]})

    assert (skipped["row_count"], some["row_count"], every["row_count"]) == (1, 2, 2)
    assert between == [{"id": 1, "note": "new", "total": "1.00"}, {"id": 2, "note": "new", "total": "2.00"}]
    assert await db.value("SELECT total FROM orders WHERE id = 1") == "2.00"


async def test_texts_are_unicode_whatever_the_role_has_by_default(db: Querier) -> None:
    await db.run("ALTER ROLE CURRENT_USER SET client_encoding = 'LATIN1'", operation="execute")
    try:
        assert await db.value("SELECT $1::text || current_setting('client_encoding')", "ü€") == "ü€UTF8"
    finally:
        await db.run("ALTER ROLE CURRENT_USER RESET client_encoding", operation="execute")


async def test_keys_that_are_no_named_columns_are_left_out(db: Querier) -> None:
    items = [{"id": 1, "note": "a", "more": {}}, {"id": 2, "note": "b"}]

    await db.run(operation="batch_insert", table="orders", items=items, columns=["note", "id"])

    assert await db.rows("SELECT id, note FROM orders ORDER BY id") == [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}]


async def test_names_of_tables_and_columns_are_no_sql(db: Querier) -> None:
    table, column = 'a"b; DROP TABLE orders; --', 'c"d'
    await db.run('CREATE TABLE "a""b; DROP TABLE orders; --" ("c""d" int)', operation="execute")

    result = await db.run(operation="batch_insert", table=table, items=[{column: 1}])
    missing = await db.fail(operation="batch_insert", table="orders", items=[{"id) VALUES (1); --": 1}])

    assert result["row_count"] == 1
    assert missing.type == "sql.42703"
    assert await db.value("SELECT count(*) FROM orders") == 0


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"items": [{"id": 1, "note": "a"}, {"id": 2}]}, "items.1 has no 'note', which the first item has"),
        ({"items": [{"id": 1}, {"id": 2, "note": "a"}]}, "items.1 has 'note', which the first item has not: name the"),
        ({"items": [{"id": 1}], "columns": ["id", "note"]}, "items.0 has no 'note'"),
        ({"items": [{"id": {}}]}, "items.0.id cannot be a value of the type integer: it is an object"),
        ({"items": [{"id": 1}], "table": "a.b.c"}, "must be a table, or schema.table"),
        ({"items": [{}]}, "there must be one"),
        ({"items": [{"\ud800": 1}]}, "The query must be Unicode text"),
        ({"items": [1]}, "items.0 must be an object"),
        ({"items": [{"id": 1}, ["id"]]}, "items.1 must be an object"),
    ],
)
async def test_items_that_cannot_be_inserted_are_named(db: Querier, params: Any, said: str) -> None:
    failed = await db.fail(operation="batch_insert", **{"table": "orders", **params})

    assert failed.type == "input.invalid"
    assert said in failed.message
    assert await db.value("SELECT count(*) FROM orders") == 0


async def test_no_items_are_no_query_and_the_log_says_so(db: Querier) -> None:
    assert await db.run(operation="batch_insert", table="nothing", items=[]) == {"rows": [], "row_count": 0}

    said = {"operation": "batch_insert", "row_count": 0}
    assert db.context.lines == [("info", "No rows inserted: 'items' is empty", said)]


@pytest.mark.parametrize("statement", ["SELECT generate_series(1, 10001)", "SELECT repeat('x', 2000000)"])
async def test_rows_beyond_the_bounds_are_not_read(db: Querier, statement: str) -> None:
    failed = await db.fail(statement)

    assert failed.type == "sql.too_large"
    assert "LIMIT" in failed.message


async def test_the_server_has_the_time_limit_of_the_step_too(db: Querier) -> None:
    db.context.timeout_seconds = 90.5

    assert await db.value("SHOW statement_timeout") == "90500ms"


async def test_the_time_zone_of_a_database_is_its_own(db: Querier, database: str) -> None:
    name = database.rpartition("/")[2]
    query(database, f"ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'")
    try:
        (row,) = await db.rows(
            "SELECT at::date AS day, at FROM (SELECT $1::timestamptz AS at) AS given", "2027-01-31 20:00Z"
        )
        assert row == {"day": "2027-02-01", "at": "2027-01-31T20:00:00Z"}
    finally:
        query(database, f"ALTER DATABASE {name} RESET TimeZone")


async def test_what_the_environment_says_of_databases_is_not_used(
    db: Querier, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:*:from-the-file\n")
    (tmp_path / ".pgpass").chmod(0o600)
    (tmp_path / ".pg_service.conf").write_text("[s]\nhost=192.0.2.1\nuser=nobody\npassword=from-the-service\n")
    given = {
        "HOME": str(tmp_path), "PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "from-outside",
        "PGDATABASE": "nothing", "PGSERVICE": "s", "PGSERVICEFILE": str(tmp_path / ".pg_service.conf"),
        "PGPASSFILE": str(tmp_path / ".pgpass"), "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nothing",
        "PGSSLCERT": "/nothing", "PGSSLKEY": "/nothing", "PGOPTIONS": "-c search_path=nothing", "PGAPPNAME": "outside",
        "PGTARGETSESSIONATTRS": "standby", "PGGSSENCMODE": "require", "PGREQUIREAUTH": "gss", "PGCONNECT_TIMEOUT": "0",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert "PGHOST" in os.environ
    found = await db.rows("SELECT current_user AS u, current_database() AS d, current_setting('application_name') AS a")
    assert found == [{"u": "flowrunner", "d": database.rpartition("/")[2], "a": "flowrunner"}]


@pytest.mark.parametrize("by", ["address", "name", "socket", "socket_file"])
async def test_s35_the_own_database_is_not_reached_by_any_name(
    database: str, postgres: PostgresServer, by: str
) -> None:
    parts = urlsplit(database)
    directory = postgres.directory
    written = {
        "address": database,
        "name": database.replace("127.0.0.1", "localhost"),
        "socket": f"postgresql://flowrunner@{parts.path}?host={directory}&port={parts.port}",
        "socket_file": f"postgresql://flowrunner@{parts.path}?host={directory}/.s.PGSQL.{parts.port}",
    }[by]
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    assert query(written, "SELECT 1") == [(1,)]
    policy = EgressPolicy(everything, own_servers=own_servers(Settings(database_url=written)))

    for host in (
        "127.0.0.1", "127.1", "127.9.9.9", "2130706433", "0x7f000001", "0.0.0.0", "localhost",
        "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]",
    ):  # fmt: skip
        named = f"postgresql://flowrunner@{host}:{parts.port}{parts.path}"
        failed = await Querier(url_for(named), policy).fail("SELECT 1")
        assert failed.type == "egress.forbidden", host


async def test_s35_closed_addresses_are_not_reached(database: str) -> None:
    failed = await Querier(url_for(database), EgressPolicy()).fail("SELECT 1")

    assert failed.type == "egress.forbidden"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, Issuer]]:
    """A server with TLS that asks each of its users for the password in another way."""
    directory = tmp_path_factory.mktemp("strict")
    issuer = Issuer(directory, "issuer")
    certificate, key = issuer.issue("server", host="localhost")
    server = PostgresServer({"fsync": "off", "ssl": "on"})
    data = server.directory / "data"
    owner = data.stat()
    for source, name in ((certificate, "server.crt"), (key, "server.key")):
        (data / name).write_bytes(source.read_bytes())
        (data / name).chmod(0o600)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    server.start()
    try:
        for user, method in (("scram", "scram-sha-256"), ("digest", "md5"), ("plain", "scram-sha-256")):
            query(server.url(), f"SET password_encryption = '{method}'")
            statement = (
                f"SET LOCAL password_encryption = '{method}'; CREATE ROLE {user} LOGIN PASSWORD '{LONG_PASSWORD}'"
            )
            _script(server, statement)
        rules = "host all scram all scram-sha-256\nhost all digest all md5\nhost all plain all password\n"
        (data / "pg_hba.conf").write_text(rules + "host all flowrunner all trust\n")
        query(server.url(), "SELECT pg_reload_conf()")
        yield server, issuer
    finally:
        server.stop()


def _script(server: PostgresServer, statements: str) -> None:
    from support.postgres import connected

    async def run(connection: Any) -> None:
        await connection.execute(statements)

    connected(server.url(), run)


def secure_url(
    server: PostgresServer, user: str, password: str | None = None, more: str = "", host: str = "localhost"
) -> str:
    from urllib.parse import quote

    port = server.url().rpartition(":")[2].partition("/")[0]
    return f"postgresql://{user}:{quote(password or LONG_PASSWORD, safe='')}@{host}:{port}/postgres{more}"


@pytest.fixture
def trusting(strict: tuple[PostgresServer, Issuer], monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    monkeypatch.setenv("SSL_CERT_FILE", str(strict[1].file))
    return strict[0]


@pytest.mark.parametrize("user", ["scram", "digest", "plain"])
async def test_a_login_with_a_password_is_encrypted_and_its_server_checked(trusting: PostgresServer, user: str) -> None:
    querier = Querier(secure_url(trusting, user))

    found = await querier.rows("SELECT current_user AS name, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

    assert found == [{"name": user, "ssl": True}]


async def test_a_wrong_password_is_reported_and_not_repeated(trusting: PostgresServer) -> None:
    for user in ("scram", "digest", "plain"):
        failed = await Querier(secure_url(trusting, user, "not-the-password")).fail("SELECT 1")
        assert failed.type == "sql.28P01"
        assert "not-the-password" not in f"{failed.message}{failed.data}"


async def test_a_certificate_for_another_name_is_not_trusted(trusting: PostgresServer) -> None:
    failed = await Querier(secure_url(trusting, "scram", host="127.0.0.1")).fail("SELECT 1")

    assert failed.type == "connection.tls"


async def test_a_server_whose_certificate_nobody_vouches_for_gets_no_password(
    strict: tuple[PostgresServer, Issuer],
) -> None:
    failed = await Querier(secure_url(strict[0], "scram")).fail("SELECT 1")

    assert failed.type == "connection.tls"


async def test_require_encrypts_without_a_check_and_sends_no_password_in_clear_text(
    strict: tuple[PostgresServer, Issuer],
) -> None:
    server, _ = strict
    more = "?sslmode=require"

    assert await Querier(secure_url(server, "scram", more=more)).value("SELECT 1") == 1
    bound = Querier(secure_url(server, "scram", more=f"{more}&channel_binding=require"))
    assert await bound.value("SELECT 1") == 1
    failed = await Querier(secure_url(server, "plain", more=more)).fail("SELECT 1")
    assert (failed.type, "in clear text" in failed.message) == ("sql.login", True)
    unbound = await Querier(secure_url(server, "digest", more=f"{more}&channel_binding=require")).fail("SELECT 1")
    assert (unbound.type, "does not bind" in unbound.message) == ("sql.login", True)


async def test_a_server_without_tls_gets_nothing_unless_the_url_says_so(database: str) -> None:
    failed = await Querier(database.replace("127.0.0.1", "localhost")).fail("SELECT 1")

    assert failed.type == "connection.tls"
    assert "sslmode=disable" in failed.message


async def test_a_server_that_asks_for_no_password_must_be_opened_for_flows(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = EgressPolicy([LOOPBACK])
    querier = Querier(url_for(database), policy)
    # As if its address were a public one, which is not closed.
    monkeypatch.setattr(policy, "is_opened", lambda host: host is None)
    monkeypatch.setattr(policy, "check", lambda host, port: None)

    failed = await querier.fail("SELECT 1")

    assert failed.type == "egress.forbidden"
    assert "asks for no password" in failed.message


def size_of(value: Any) -> int:
    """Return the bytes that a value takes in memory."""
    parts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return sys.getsizeof(value) + sum(map(size_of, parts))


@pytest.mark.parametrize(
    "expression",
    [
        "repeat('x', 100)",
        "array_fill('ab'::text, ARRAY[100])",
        "array_fill(500, ARRAY[100])",
        "array_fill(1.5::float8, ARRAY[100])",
        "array_fill(1, ARRAY[50, 1])",
        "array_fill('{}'::jsonb, ARRAY[50])",
        "array_to_json(array_fill('[]'::json, ARRAY[50]))",
    ],
)
async def test_long_rows_wait_for_memory(db: Querier, monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    held: list[int] = []

    async def hold(memory: int = 0) -> None:
        held.append(memory)

    monkeypatch.setattr(db.context, "hold_long_value", hold)
    rows = await db.rows(f"SELECT {expression} AS a FROM generate_series(1, 2000)")
    await db.rows("SELECT 1")

    assert len(rows) == 2000
    (memory,) = held
    assert memory > size_of(rows)


@pytest.mark.parametrize("field", ["url", "query"])
async def test_a_url_that_is_wrong_when_it_is_resolved_is_not_repeated(db: Querier, field: str) -> None:
    params = {"url": db.url, "query": "SELECT 1", **({"url": "mysql://u:hidden@h/${x}"} if field == "url" else {})}
    if field == "query":
        assert await db.run(**params) == {"rows": [{"?column?": 1}], "row_count": 1}
        return
    with pytest.raises(NodeFailure) as raised:
        await db.run(**params)
    assert raised.value.type == "input.invalid"
    assert "hidden" not in raised.value.message
