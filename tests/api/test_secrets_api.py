"""Secrets over REST, as the reference has them: written, named, deleted, never read."""

import time
from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent, moment
from support.client import Client

FIELDS: Final = {"key", "created_at", "updated_at"}
VALUE: Final = "s3cr3t-value-of-a-key"


def path(account: Client, key: str = "") -> str:
    return f"/api/v1/accounts/{account.account_id}/secrets" + (f"/{key}" if key else "")


def test_a_secret_is_created_without_its_value_in_the_answer(account: Client) -> None:
    reply = account.post(path(account), {"key": "NEW_API_KEY", "value": VALUE})

    assert reply.status == 201
    assert reply.json.keys() == FIELDS
    assert reply.json["key"] == "NEW_API_KEY"
    assert reply.json["created_at"] == reply.json["updated_at"]
    assert_recent(reply.json["created_at"])
    assert VALUE.encode() not in reply.body


def test_secrets_are_listed_by_their_keys(account: Client) -> None:
    created = [account.post(path(account), {"key": key, "value": VALUE}).json for key in ("DATABASE_URL", "API_KEY")]

    reply = account.get(path(account))

    assert reply.status == 200
    assert reply.json == {"secrets": sorted(created, key=lambda secret: str(secret["key"]))}
    assert VALUE.encode() not in reply.body


def test_an_account_without_secrets_has_an_empty_list(account: Client) -> None:
    assert account.get(path(account)).json == {"secrets": []}


def test_a_new_value_replaces_the_old_one(account: Client) -> None:
    first = account.post(path(account), {"key": "K", "value": VALUE}).json
    time.sleep(0.002)

    reply = account.post(path(account), {"key": "K", "value": "another value"})

    assert reply.status == 200
    assert reply.json["created_at"] == first["created_at"]
    assert moment(reply.json["updated_at"]) > moment(first["updated_at"])
    assert len(account.get(path(account)).json["secrets"]) == 1


def test_a_secret_is_deleted(account: Client) -> None:
    account.new_secret("K", VALUE)

    reply = account.delete(path(account, "K"))

    assert reply.status == 200
    assert reply.json == {"message": "Secret deleted successfully"}
    assert account.get(path(account)).json == {"secrets": []}
    assert_error(account.delete(path(account, "K")), 404, "Secret not found")


def test_no_address_gives_a_value(account: Client, admin: Client) -> None:
    account.new_secret("K", VALUE)

    assert_error(account.get(path(account, "K")), 405)
    for client in (account, admin):
        for reply in (client.get(path(account)), client.get(f"/api/v1/accounts/{account.account_id}")):
            assert VALUE.encode() not in reply.body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key": "K"}, "value"),
        ({"value": VALUE}, "key"),
        ({"key": "", "value": VALUE}, "key"),
        ({"key": "a b", "value": VALUE}, "key"),
        ({"key": "a/b", "value": VALUE}, "key"),
        ({"key": "../x", "value": VALUE}, "key"),
        ({"key": "a}b", "value": VALUE}, "key"),
        ({"key": "1", "value": VALUE}, "key"),
        ({"key": "x" * 129, "value": VALUE}, "key"),
        ({"key": "K", "value": ""}, "value"),
        ({"key": "K", "value": "7chars!"}, "value"),
        ({"key": "K", "value": 12345678}, "value"),
        ({"key": "K", "value": {"a": "b"}}, "value"),
        ({"key": "K", "value": VALUE, "account_id": "account-1"}, "account_id"),
    ],
)
def test_a_fault_of_a_field_is_told_by_its_name_and_without_the_value(
    account: Client, body: dict[str, Any], field: str
) -> None:
    reply = account.post(path(account), body)

    details = assert_error(reply, 422)
    assert details["field"] == field
    assert account.get(path(account)).json == {"secrets": []}
    for value in (VALUE, "7chars!", "12345678"):
        assert value.encode() not in reply.body


@pytest.mark.parametrize("key", ["A", "api_key", "API_KEY_2", "_x"])
def test_keys_that_expressions_can_name_are_taken(account: Client, key: str) -> None:
    account.new_secret(key, VALUE)

    assert [secret["key"] for secret in account.get(path(account)).json["secrets"]] == [key]
    assert account.delete(path(account, key)).status == 200


def test_secrets_of_other_accounts_do_not_exist_also_for_admins(account: Client, other: Client, admin: Client) -> None:
    account.new_secret("K", VALUE)

    for client in (other, admin):
        for reply in (
            client.get(path(account)),
            client.post(path(account), {"key": "K", "value": "another value"}),
            client.delete(path(account, "K")),
        ):
            assert_error(reply, 404)
    assert len(account.get(path(account)).json["secrets"]) == 1
