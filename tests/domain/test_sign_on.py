"""Providers of single sign-on, as their document describes them."""

from typing import Any

import pytest

from flowrunner.domain.sign_on import GroupRole, Provider, providers_of

LEAST = {"issuer": "https://id.example.test", "client_id": "flowrunner"}
GROUP = {"group": "ops", "workspace": "acme", "role": "operator"}


def test_what_is_left_out_has_a_default() -> None:
    assert providers_of({"main": LEAST}) == (
        Provider(
            id="main", name="main", issuer="https://id.example.test", client_id="flowrunner", client_secret=None,
            scopes=("openid", "profile", "email"), groups_claim="groups", creates_accounts=False, role="user",
            groups=(),
        ),
    )  # fmt: skip


def test_all_that_is_given_is_taken() -> None:
    given = {"name": "N" * 101, "client_secret": "s", "scopes": ["openid"], "groups_claim": "teams",
             "create_accounts": True, "role": "viewer", "groups": [GROUP]}  # fmt: skip

    (provider,) = providers_of({"a-1": {**LEAST, **given}})

    assert provider == Provider(
        id="a-1", name="N" * 100, issuer="https://id.example.test", client_id="flowrunner", client_secret="s",
        scopes=("openid",), groups_claim="teams", creates_accounts=True, role="viewer",
        groups=(GroupRole(group="ops", workspace="acme", role="operator"),),
    )  # fmt: skip
    assert "flowrunner" not in repr(provider)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issuer": None}, "needs 'issuer'"), ({"issuer": ""}, "needs 'issuer'"),
        ({"client_id": 1}, "needs 'client_id'"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"client_secret": ""}, "'client_secret' of 'main' must be a text"),
        ({"client_secret": 1}, "'client_secret' of 'main' must be a text"), ({"scopes": ["email"]}, "has 'openid'"),
        ({"scopes": "openid"}, "must be a list"), ({"scopes": ["openid", ""]}, "must be a list"),
        ({"scopes": ["openid", 1]}, "must be a list"), ({"role": "admin"}, "must be user or viewer"),
        ({"create_accounts": "yes"}, "'create_accounts' true or false"), ({"create_accounts": 1}, "true or false"),
        ({"name": ""}, "must be texts"), ({"groups_claim": 1}, "must be texts"), ({"groups": GROUP}, "must be tables"),
        ({"groups": [{**GROUP, "more": 1}]}, "exactly group, workspace and role"), ({"groups": ["ops"]}, "exactly"),
        ({"groups": [{"group": "ops", "role": "viewer"}]}, "exactly group"),
        ({"groups": [{**GROUP, "group": ""}]}, "texts"),
        ({"groups": [{**GROUP, "workspace": 1}]}, "need texts"),
        ({"groups": [{**GROUP, "role": "owner"}]}, "a role of"),
        ({"issuer": "http://id.example.test"}, "must be an address"),
        ({"issuer": "https://id.test?a"}, "must be an address"),
        ({"issuer": "https://u@id.test"}, "must be an address"),
        ({"issuer": "https://id.test#a"}, "must be an address"),
        ({"issuer": "http://localhost.evil.test"}, "must be an address"),
        ({"issuer": "https:///a"}, "must be an address"),
    ],
)  # fmt: skip
def test_a_fault_of_a_provider_is_told_without_its_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        providers_of({"main": {**LEAST, **changes}})
    assert "example" not in str(raised.value).replace("https://login.example.com", "")


@pytest.mark.parametrize(
    "issuer", ["https://id.test:8443/realms/a", "http://localhost", "http://127.0.0.1:80/a", "http://[::1]:8080"]
)
def test_an_issuer_has_a_port_and_a_path_and_on_this_machine_no_tls(issuer: str) -> None:
    assert providers_of({"main": {**LEAST, "issuer": issuer}})[0].issuer == issuer


@pytest.mark.parametrize(
    ("id", "is_allowed"),
    [
        ("a", True),
        ("a" * 40, True),
        ("a" * 41, False),
        ("-a", False),
        ("a-", False),
        ("A", False),
        ("", False),
        ("a_b", False),
    ],
)
def test_a_provider_has_a_name_for_addresses(id: str, is_allowed: bool) -> None:
    if is_allowed:
        assert providers_of({id: LEAST})[0].id == id
    else:
        with pytest.raises(ValueError, match="is not made of"):
            providers_of({id: LEAST})


def test_there_are_at_most_twenty_providers_each_with_an_issuer_of_its_own() -> None:
    many = {f"p{n}": {**LEAST, "issuer": f"https://id-{n}.test"} for n in range(21)}

    assert len(providers_of(dict(list(many.items())[:20]))) == 20
    with pytest.raises(ValueError, match="more than 20"):
        providers_of(many)
    with pytest.raises(ValueError, match="two providers with one issuer"):
        providers_of({"a": LEAST, "b": LEAST})
    with pytest.raises(ValueError, match="'a' must be a table"):
        providers_of({"a": []})
