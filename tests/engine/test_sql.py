"""Queries of flows in the engine: repeats, crashes, and what is stored of them."""

import re
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.events import Completed, Failed, NodeFailed
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.name_lookups import lookup_slots
from support.databases import contents_of
from support.dependencies import Machine, machine, secret
from support.mailbox import scripted_mail_server as scripted_server
from support.networks import LOOPBACK
from support.postgres import PostgresServer, query
from support.sql import READY, asked, described, error, greet, message, url_for

from .events import ending

PASSWORD: Final = "a-very-long-password"
PAGE: Final = Path(__file__).parents[2] / "docs" / "connecting.md"


def with_sql(machine: Machine) -> Machine:
    machine.deps.sql = EgressSqlClients(EgressPolicy([LOOPBACK]), lookup_slots())
    return machine


def flow(url: str, statement: str, more: str = "", operation: str = "execute") -> str:
    return f"""
nodes:
  ask:
    type: sql
    params: {{url: "{url}", operation: {operation}, query: "{statement}"}}
    {more}
"""


@pytest.fixture
def counter(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    query(url, "CREATE TABLE counts (n int)")
    query(url, "INSERT INTO counts VALUES (0)")
    return url


async def test_a_flow_reads_what_an_earlier_node_has_changed(engine: Machine, counter: str) -> None:
    document = f"""
nodes:
  change:
    type: sql
    params:
      url: "{url_for(counter)}"
      operation: execute
      query: "UPDATE counts SET n = n + $1"
      args: ["${{input.by}}"]
    next: read
  read:
    type: postgres
    params: {{url: "{url_for(counter)}", query: "SELECT n FROM counts"}}
    output: "${{result.rows[0].n}}"
"""
    events = await with_sql(engine).run(document, {"by": 5})

    end = ending(events)
    assert isinstance(end, Completed)
    assert end.result == 5


async def test_the_sample_of_the_page_does_not_repeat_what_is_done(engine: Machine, postgres: PostgresServer) -> None:
    (sample,) = re.findall(
        r"^<!-- file: orders.yaml -->\n```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    url = postgres.new_database()
    query(url, "CREATE TABLE orders (id int, total numeric(9,2), taken_by text)")
    query(url, "CREATE TABLE shipments (order_id int UNIQUE, total numeric(9,2))")
    query(url, "INSERT INTO orders VALUES (1, 9.5, NULL), (2, 1, NULL), (3, 7, 'another')")
    await secret(with_sql(engine), "DATABASE_URL", url_for(url))

    first = ending(await engine.run(sample))
    query(url, "INSERT INTO orders VALUES (4, 4, 'exec-2'), (2, 1, 'exec-2')")
    second = ending(await engine.run(sample, id="exec-2"))

    assert isinstance(first, Completed)
    assert isinstance(second, Completed)
    assert (first.result, second.result) == (2, 1)
    found = query(url, "SELECT order_id, total::text FROM shipments ORDER BY order_id")
    assert found == [(1, "9.50"), (2, "1.00"), (4, "4.00")]


def silent_after_the_query(asked_for: list[int], *, commits: bool) -> AbstractContextManager[int]:
    """Give the port of a server that answers the first query, or its commit, only when the process is gone."""

    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(described())
        asked(connection)
        if not commits:
            asked_for.append(1)
            if len(asked_for) == 1:
                connection.recv(1 << 16)
                return
        connection.sendall(message(b"C", b"UPDATE 1\0") + READY)
        asked(connection)
        if commits:
            asked_for.append(1)
            if len(asked_for) == 1:
                connection.recv(1 << 16)
                return
        connection.sendall(message(b"C", b"COMMIT\0") + READY)

    return scripted_server(talk)


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize(("more", "times"), [("", 2), ("idempotent: false", 1)])
async def test_a_query_whose_end_was_not_recorded_runs_again_unless_its_node_says_otherwise(
    tmp_path: Path, commits: bool, more: str, times: int
) -> None:
    asked_for: list[int] = []

    async def was_asked() -> bool:
        return bool(asked_for)

    with silent_after_the_query(asked_for, commits=commits) as port:
        url = f"postgresql://ada:x@127.0.0.1:{port}/shop?sslmode=disable"
        async with machine(tmp_path / "a.db") as before:
            await with_sql(before).save(flow(url, "UPDATE t SET a = 1", more))
            await before.start()
            await before.until(was_asked)
        async with machine(tmp_path / "a.db") as after:
            await with_sql(after).until_ended()
            events = await after.events()

    assert len(asked_for) == times
    assert isinstance(ending(events), Completed if times == 2 else Failed)
    assert times == 2 or ending(events).error.type == "interrupted"


def refusing(sqlstate: bytes, attempts: list[int]) -> AbstractContextManager[int]:
    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(described())
        asked(connection)
        attempts.append(1)
        connection.sendall(error((b"S", b"ERROR"), (b"C", sqlstate), (b"M", b"no")) + READY)
        asked(connection)
        connection.sendall(message(b"C", b"ROLLBACK\0") + READY)

    return scripted_server(talk)


@pytest.mark.parametrize(
    ("sqlstate", "operation", "more", "times"),
    [
        (b"40001", "query", "", 3),
        (b"40001", "execute", "", 1),
        (b"40P01", "execute", "retry: {max: 1, delay: 1ms}", 2),
        (b"23505", "execute", "retry: {max: 5, delay: 1ms}", 1),
        (b"23505", "execute", "retry: {max: 1, delay: 1ms, errors: [sql.23xxx]}", 2),
    ],
)
async def test_what_only_reads_is_retried_by_default_and_changes_if_their_node_says_so(
    engine: Machine, sqlstate: bytes, operation: str, more: str, times: int
) -> None:
    attempts: list[int] = []
    with refusing(sqlstate, attempts) as port:
        url = f"postgresql://ada:x@127.0.0.1:{port}/shop?sslmode=disable"
        document = f"defaults: {{retry: {{max: 2, delay: 1ms}}}}\n{flow(url, 'SELECT 1', more, operation)}"
        events = await with_sql(engine).run(document)

    assert ending(events).error.type == f"sql.{sqlstate.decode()}"
    assert len(attempts) == len([event for event in events if isinstance(event, NodeFailed)]) == times


async def test_a_change_in_doubt_is_not_repeated_by_a_retry(engine: Machine) -> None:
    commits: list[int] = []

    def talk(connection: socket.socket) -> None:
        greet(connection)
        asked(connection)
        connection.sendall(described())
        asked(connection)
        connection.sendall(message(b"C", b"UPDATE 1\0") + READY)
        asked(connection)
        commits.append(1)

    with scripted_server(talk) as port:
        url = f"postgresql://ada:x@127.0.0.1:{port}/shop?sslmode=disable"
        events = await with_sql(engine).run(flow(url, "UPDATE t SET a = 1", "retry: {max: 3, delay: 1ms}"))

    assert ending(events).error.type == "sql.commit_unknown"
    assert len(commits) == 1


async def test_s26_a_password_that_a_database_repeats_is_stored_nowhere(engine: Machine) -> None:
    def talk(connection: socket.socket) -> None:
        asked(connection)
        fields = [(b"S", b"FATAL"), (b"C", b"28P01"), (b"M", PASSWORD.encode()), (b"D", PASSWORD.encode())]
        connection.sendall(error(*fields))

    with scripted_server(talk) as port:
        await secret(with_sql(engine), "DB_PASSWORD", PASSWORD)
        url = f"postgresql://ada:${{secrets.DB_PASSWORD}}@127.0.0.1:{port}/shop?sslmode=disable"
        events = await engine.run(flow(url, "SELECT 1"))

    assert (ending(events).error.type, ending(events).error.message) == ("sql.28P01", "***")
    assert isinstance(engine.path, Path)
    assert PASSWORD not in "\n".join(contents_of(engine.path))
