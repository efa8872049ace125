"""Who may subscribe to an execution, and for how long."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.live import close_code, read, refused, waiting
from api.shapes import CODES, NAP
from security.two_accounts import two_accounts_at
from support.asgi import connect as in_process
from support.client import PASSWORD, Client
from support.databases import rows_of
from support.server import Server
from support.waiting import wait_for

# Who


def test_without_a_token_a_socket_is_refused_before_it_is_accepted(account: Client) -> None:
    id = waiting(account)

    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}):
        refused(account, id, 401, additional_headers=headers)


def test_s11_no_token_is_taken_from_a_url(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]

    for name in ("token", "access_token", "authorization", "Authorization", "ticket"):
        refused(account, id, 401, query=f"?{name}={account.token}", additional_headers={})
        refused(account, id, 401, query=f"?{name}={ticket}", additional_headers={})


def test_no_token_is_taken_from_a_cookie(account: Client) -> None:
    refused(account, waiting(account), 401, additional_headers={"Cookie": f"token={account.token}"})


def test_s21_an_execution_of_another_account_looks_like_none(account: Client, other: Client, admin: Client) -> None:
    id = waiting(account)

    for client in (other, admin):
        foreign, absent = refused(client, id, 404), refused(client, "exec-1", 404)
        assert foreign == absent
        assert foreign["message"] == "Execution not found"


@pytest.mark.parametrize("path", ["/ws/executions/", "/ws", "/ws/flows/1", "/ws/executions/a/b"])
def test_other_sockets_do_not_exist(account: Client, path: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(account.url.replace("http", "ws", 1) + path, additional_headers=account.bearer(), proxy=None)
    response = caught.value.response
    assert response.status_code == 404
    assert json.loads(response.body)["error"]["code"] == CODES[404]


async def test_a_socket_takes_its_own_parameters_alone(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        execution = (await accounts.mara.run(await accounts.mara.flow(NAP))).json["execution_id"]
        own = (await accounts.mara.request("GET", "/api/v1/accounts/me")).json["id"]
        one, every = f"/ws/executions/{execution}", "/ws/executions"
        statuses = {
            query: (await in_process(accounts.app, query, token=accounts.mara.token)).status
            for query in (
                one, f"{one}?after=1", f"{one}?workspace={own}", f"{one}?afer=1", f"{one}?after=x", f"{one}?after=99",
                every, f"{every}?after=", f"{every}?workspace={own}", f"{every}?workspce={own}", f"{every}?workspace=x",
            )
        }  # fmt: skip

    assert statuses == {
        one: 101, f"{one}?after=1": 101, f"{one}?workspace={own}": 422, f"{one}?afer=1": 422, f"{one}?after=x": 422,
        f"{one}?after=99": 422, every: 101, f"{every}?after=": 101, f"{every}?workspace={own}": 101,
        f"{every}?workspce={own}": 422, f"{every}?workspace=x": 404,
    }  # fmt: skip


def test_s11_a_ticket_opens_one_socket(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    offer: Any = {"additional_headers": {}, "subprotocols": ["flowrunner.v1", f"ticket.{ticket}"]}

    with account.watch(id, **offer) as connection:
        assert connection.subprotocol == "flowrunner.v1", "the ticket must not come back"
        assert read(connection, 1)[0]["seq"] == 1
        refused(account, id, 401, **offer)
    refused(account, id, 401, **offer)


def test_a_ticket_taken_by_many_at_once_opens_one_socket(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    barrier = threading.Barrier(8)

    def attempt(_: int) -> bool:
        protocols: Any = ["flowrunner.v1", f"ticket.{ticket}"]
        barrier.wait()
        try:
            with account.watch(id, additional_headers={}, subprotocols=protocols):
                return True
        except InvalidStatus:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_ticket_sees_no_more_than_its_account(account: Client, other: Client) -> None:
    id = waiting(account)
    ticket = other.post("/api/v1/auth/ws-ticket").json["ticket"]

    refused(account, id, 404, additional_headers={}, subprotocols=["flowrunner.v1", f"ticket.{ticket}"])


@pytest.mark.parametrize("ticket", ["", "x", "' OR 1=1 --", "%00"])
def test_a_ticket_that_was_never_made_is_refused(account: Client, ticket: str) -> None:
    offered = f"ticket.{ticket}".replace(" ", "").replace("=", "").replace("'", "")
    refused(account, waiting(account), 401, additional_headers={}, subprotocols=["flowrunner.v1", offered])


def test_a_ticket_ends_with_its_session(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    account.post("/api/v1/auth/logout")

    refused(account, id, 401, additional_headers={}, subprotocols=["flowrunner.v1", f"ticket.{ticket}"])


# When the session ends


def test_a_logout_closes_the_sockets_of_its_session_alone(account: Client) -> None:
    id = waiting(account)
    second = Client(account.url).login(account.email, PASSWORD)
    with account.watch(id) as mine, second.watch(id) as theirs:
        read(mine, 1)
        read(theirs, 1)
        account.post("/api/v1/auth/logout")

        assert close_code(mine, 5.0) == 4401
        second.delete(f"/api/v1/executions/{id}")
        assert close_code(theirs) == 1000


def test_a_socket_that_a_ticket_opened_is_closed_by_the_logout(account: Client) -> None:
    id = waiting(account)
    ticket = account.post("/api/v1/auth/ws-ticket").json["ticket"]
    protocols: Any = ["flowrunner.v1", f"ticket.{ticket}"]
    with account.watch(id, additional_headers={}, subprotocols=protocols) as connection:
        account.post("/api/v1/auth/logout")

        assert close_code(connection, 5.0) == 4401


def test_a_deleted_account_loses_its_sockets_and_its_executions(account: Client, admin: Client, server: Server) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        read(connection, 1)
        admin.delete(f"/api/v1/accounts/{account.account_id}?workspace=delete")

        assert close_code(connection, 5.0) == 4401
    wait_for(lambda: rows_of(server.database, "SELECT status FROM executions WHERE id = ?", id) == [("cancelled",)])


def test_a_changed_password_or_role_closes_the_sockets(account: Client, admin: Client) -> None:
    id = waiting(account)
    path = f"/api/v1/accounts/{account.account_id}"
    for change in ({"role": "admin"}, {"role": "user"}, {"password": "another-quiet-heron-1"}):
        account.login(account.email, PASSWORD)
        with account.watch(id) as connection:
            read(connection, 1)
            assert admin.put(path, change).status == 200
            assert close_code(connection, 5.0) == 4401


# It ends every session in the moment between the last look at it and the socket's place among those that are told.
LOGGING_OUT: Final = (
    "-c",
    """
import sys
import flowrunner.bootstrap.housekeeping
from flowrunner.services.sessions import Sessions
flowrunner.bootstrap.housekeeping.REFRESH_SECONDS = 3600.0
family_of = Sessions.family_of
async def logging_out(self, caller):
    family = await family_of(self, caller)
    await self.logout(caller)
    return family
Sessions.family_of = logging_out
from flowrunner.cli.main import main
sys.exit(main())
""",
)


def test_a_session_that_ends_while_its_socket_opens_closes_it(tmp_path: Path) -> None:
    server = Server(tmp_path, program=LOGGING_OUT)
    try:
        account = server.start().admin()
        with account.watch(waiting(account)) as connection:
            assert close_code(connection, 5.0) == 4401
    finally:
        server.stop()


def test_a_refreshed_session_keeps_its_sockets_no_longer_than_its_token(account: Client) -> None:
    id = waiting(account)
    with account.watch(id) as connection:
        read(connection, 1)
        newer = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])
        newer.post("/api/v1/auth/logout")

        assert close_code(connection, 5.0) == 4401


def test_a_refreshed_session_keeps_its_sockets_when_another_session_ends(hasty_server: Server) -> None:
    account = hasty_server.admin().new_account()
    id = waiting(account)
    second = Client(account.url).login(account.email, PASSWORD)
    with account.watch(id) as connection:
        read(connection, 1)
        newer = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])
        wait_for(lambda: account.get("/api/v1/flows").status == 401)
        second.post("/api/v1/auth/logout")
        newer.delete(f"/api/v1/executions/{id}")

        assert close_code(connection, 5.0) == 1000
