"""Accounts over REST, as the reference has them."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent, moment
from support.client import PASSWORD, Client

FIELDS: Final = {"id", "name", "email", "email_confirmed", "role", "disabled", "created_at", "updated_at"}


def new(**fields: Any) -> dict[str, Any]:
    email = f"{secrets.token_hex(6)}@example.com"
    return {"name": "New Account", "email": email, "password": PASSWORD, "role": "user", **fields}


def test_an_account_is_created_and_read(admin: Client) -> None:
    body = new()

    reply = admin.post("/api/v1/accounts", body)

    assert reply.status == 201
    account = reply.json
    assert account.keys() == FIELDS
    assert (account["name"], account["email"], account["role"]) == ("New Account", body["email"], "user")
    assert account["created_at"] == account["updated_at"]
    assert_recent(account["created_at"])
    assert admin.get(f"/api/v1/accounts/{account['id']}").json == account


def test_an_account_is_updated(admin: Client) -> None:
    created = admin.post("/api/v1/accounts", new()).json
    time.sleep(0.002)
    email = f"updated-{created['email']}"

    reply = admin.put(f"/api/v1/accounts/{created['id']}", {"name": "Updated Account", "email": email, "role": "admin"})

    assert reply.status == 200
    changed = {"name": "Updated Account", "email": email, "role": "admin", "updated_at": reply.json["updated_at"]}
    assert reply.json == {**created, **changed}
    assert moment(reply.json["updated_at"]) > moment(created["updated_at"])
    assert admin.get(f"/api/v1/accounts/{created['id']}").json == reply.json


def test_an_update_of_one_field_leaves_the_others(admin: Client) -> None:
    created = admin.post("/api/v1/accounts", new()).json

    updated = admin.put(f"/api/v1/accounts/{created['id']}", {"name": "Only this"}).json

    assert updated == {**created, "name": "Only this", "updated_at": updated["updated_at"]}


def test_an_account_is_deleted_and_its_address_is_free_again(admin: Client) -> None:
    body = new()
    id = admin.post("/api/v1/accounts", body).json["id"]

    reply = admin.delete(f"/api/v1/accounts/{id}")

    assert reply.status == 200
    assert reply.json == {"message": "Account deleted successfully"}
    assert_error(admin.get(f"/api/v1/accounts/{id}"), 404, "Account not found")
    assert_error(admin.delete(f"/api/v1/accounts/{id}"), 404, "Account not found")
    assert_error(admin.put(f"/api/v1/accounts/{id}", {"name": "N"}), 404, "Account not found")
    assert admin.post("/api/v1/accounts", body).status == 201


def test_accounts_are_listed_and_filtered_by_role(admin: Client) -> None:
    admin.new_account("admin")
    whole = admin.get("/api/v1/accounts", limit=1000).json
    assert whole.keys() == {"accounts", "total", "limit", "offset"}
    assert whole["total"] == len(whole["accounts"])
    assert all(account.keys() == FIELDS for account in whole["accounts"])

    for role in ("admin", "user"):
        page = admin.get("/api/v1/accounts", role=role, limit=1000).json
        wanted = [account for account in whole["accounts"] if account["role"] == role]
        assert page["accounts"] == wanted
        assert page["total"] == len(wanted) > 0
    page = admin.get("/api/v1/accounts", limit=1, offset=1).json
    assert page["accounts"] == whole["accounts"][1:2]
    assert (page["total"], page["limit"], page["offset"]) == (whole["total"], 1, 1)


@pytest.mark.parametrize("role", ["", "root", "Admin", "admin,user", "%"])
def test_a_role_that_there_is_not_is_refused(admin: Client, role: str) -> None:
    assert assert_error(admin.get("/api/v1/accounts", role=role), 422)["field"] == "role"


def test_an_address_belongs_to_one_account(admin: Client) -> None:
    first, second = admin.post("/api/v1/accounts", new()).json, admin.post("/api/v1/accounts", new()).json

    for email in (first["email"], first["email"].upper(), f" {first['email']} "):
        assert_error(admin.post("/api/v1/accounts", new(email=email)), 409)
        assert_error(admin.put(f"/api/v1/accounts/{second['id']}", {"email": email}), 409)
    assert admin.get(f"/api/v1/accounts/{second['id']}").json["email"] == second["email"]
    assert admin.put(f"/api/v1/accounts/{first['id']}", {"email": first["email"]}).status == 200


def test_an_address_taken_by_many_at_once_is_given_once(admin: Client) -> None:
    body = new()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: admin.post("/api/v1/accounts", body).status, range(8)))

    assert sorted(statuses) == [201] + [409] * 7


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": "a@b@c"}, "email"),
        ({"email": "@example.com"}, "email"),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "email"),
        ({"email": None}, "email"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"role": "root"}, "role"),
        ({"role": None}, "role"),
        ({"password": "short"}, "password"),
        ({"password": 123456789012345}, "password"),
        ({"id": "account-1"}, "id"),
        ({"password_hash": "x"}, "password_hash"),
        ({"created_at": "2023-01-01T12:00:00Z"}, "created_at"),
    ],
)
def test_a_fault_of_a_field_is_told_by_its_name(admin: Client, fields: dict[str, Any], field: str) -> None:
    details = assert_error(admin.post("/api/v1/accounts", new(**fields)), 422)

    assert details["field"] == field
    assert [error["path"] for error in details["errors"]] == [field]


def test_all_faults_are_told_at_once(admin: Client) -> None:
    body = {"name": " ", "email": "x", "password": "short"}

    details = assert_error(admin.post("/api/v1/accounts", body), 422, "The request has 3 faults")

    assert {error["path"] for error in details["errors"]} == {"name", "email", "password"}


def test_a_missing_name_is_told_as_in_the_reference(admin: Client) -> None:
    body = {name: value for name, value in new().items() if name != "name"}

    details = assert_error(admin.post("/api/v1/accounts", body), 422, "Name is required")

    assert (details["field"], details["reason"]) == ("name", "Name is required")


# Who may do what


def test_users_manage_no_accounts(account: Client, other: Client) -> None:
    for reply in (
        account.get("/api/v1/accounts"),
        account.post("/api/v1/accounts", new()),
        account.delete(f"/api/v1/accounts/{other.account_id}"),
        account.delete(f"/api/v1/accounts/{account.account_id}"),
    ):
        assert_error(reply, 403, "The installation role of this account is 'user', and this needs 'admin'")
    assert other.get("/api/v1/flows").status == 200


def test_users_see_and_change_themselves_but_not_their_role(account: Client) -> None:
    path = f"/api/v1/accounts/{account.account_id}"

    assert account.get(path).json["email"] == account.email
    assert account.put(path, {"name": "Me"}).json["name"] == "Me"
    assert_error(account.put(path, {"role": "admin"}), 403)
    assert account.put(path, {"role": "user"}).status == 200
    assert account.get(path).json["role"] == "user"


def test_other_accounts_do_not_exist_for_users(account: Client, other: Client) -> None:
    for id in (other.account_id, "account-1"):
        assert_error(account.get(f"/api/v1/accounts/{id}"), 404, "Account not found")
        assert_error(account.put(f"/api/v1/accounts/{id}", {"name": "Mine"}), 404, "Account not found")


def test_what_one_may_not_do_is_refused_before_the_body_is_looked_at(account: Client) -> None:
    reply = account.request("POST", "/api/v1/accounts", b"{", {"Content-Type": "text/plain"})

    assert_error(reply, 403)
