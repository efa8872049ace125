"""Login, refresh, logout, and every token that must not be taken."""

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
import pytest

from api.shapes import assert_error, assert_recent, moment
from support.client import PASSWORD, Client, Reply
from support.server import Server

ME: Final = "/api/v1/flows"


def test_a_login_gives_a_token_its_end_and_the_account(account: Client) -> None:
    reply = account.post("/api/v1/auth/login", {"username": account.email, "password": PASSWORD})

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json.keys() == {"token", "expires_at", "account_id"}
    assert reply.json["account_id"] == account.account_id
    assert moment(reply.json["expires_at"]) > datetime.now(UTC) + timedelta(minutes=5)
    assert Client(account.url, reply.json["token"]).get(ME).status == 200


def test_a_token_is_a_jwt_that_says_when_it_ends(account: Client) -> None:
    reply = account.post("/api/v1/auth/login", {"username": account.email, "password": PASSWORD})
    claims = jwt.decode(reply.json["token"], options={"verify_signature": False})

    assert claims.keys() == {"iss", "aud", "typ", "sub", "jti", "iat", "nbf", "exp"}
    assert datetime.fromtimestamp(claims["exp"], UTC) == moment(reply.json["expires_at"]).replace(microsecond=0)


@pytest.mark.parametrize("name", ["upper", "spaces"])
def test_the_address_is_taken_in_any_case(account: Client, name: str) -> None:
    written = account.email.upper() if name == "upper" else f"  {account.email} "

    assert account.post("/api/v1/auth/login", {"username": written, "password": PASSWORD}).status == 200


def test_a_wrong_password_and_an_unknown_name_look_the_same(account: Client) -> None:
    nobody = Client(account.url)

    wrong = nobody.post("/api/v1/auth/login", {"username": account.email, "password": "not the password"})
    unknown = nobody.post("/api/v1/auth/login", {"username": "nobody@example.com", "password": PASSWORD})
    no_address = nobody.post("/api/v1/auth/login", {"username": "no address", "password": PASSWORD})

    for reply in (wrong, unknown, no_address):
        assert_error(reply, 401, "The username or the password is wrong")
        assert reply.headers["www-authenticate"] == "Bearer"
    bodies = [{**reply.error, "request_id": ""} for reply in (wrong, unknown, no_address)]
    assert bodies[0] == bodies[1] == bodies[2]


def test_s03_who_guesses_is_slowed_down_and_nobody_else(account: Client, other: Client) -> None:
    def login(email: str, password: str) -> Reply:
        return Client(account.url).post("/api/v1/auth/login", {"username": email, "password": password})

    replies = [login(account.email, f"guess number {n}") for n in range(25)]

    assert [reply.status for reply in replies] == [401] * 20 + [429] * 5
    assert_error(replies[-1], 429)
    assert 0 < int(replies[-1].headers["retry-after"]) <= 15 * 60
    assert_error(login(account.email, PASSWORD), 429)
    assert_error(login(account.email.upper(), PASSWORD), 429)
    assert login(other.email, PASSWORD).status == 200
    assert account.get(ME).status == 200, "who is logged in stays so"


def test_s03_guesses_under_a_name_that_nobody_has_are_slowed_down_the_same(account: Client) -> None:
    statuses = []
    for n in range(22):
        body = {"username": f"nobody-{account.account_id}@example.com", "password": f"guess number {n}"}
        statuses.append(account.post("/api/v1/auth/login", body).status)

    assert statuses == [401] * 20 + [429] * 2


def test_passwords_are_compared_to_their_last_character(admin: Client) -> None:
    password = "kestrel over the long grey fjord " * 5
    email = f"{secrets.token_hex(6)}@example.com"
    body = {"name": "Long", "email": email, "password": password, "role": "user"}
    assert admin.post("/api/v1/accounts", body).status == 201

    for tried in (password[:-1], password + "x", password[:72], password.upper(), password.strip()):
        assert_error(admin.post("/api/v1/auth/login", {"username": email, "password": tried}), 401)
    assert admin.post("/api/v1/auth/login", {"username": email, "password": password}).status == 200


@pytest.mark.parametrize(
    "password",
    ["x", "elevenchars", "aaaaaaaaaaaaaaa", "password1234", "123456789012", "Administrator1", "qwertyuiop12"],
)
def test_passwords_that_are_easy_to_guess_are_refused(admin: Client, password: str) -> None:
    body = {"name": "N", "email": "new@example.com", "password": password, "role": "user"}

    details = assert_error(admin.post("/api/v1/accounts", body), 422)

    assert details["field"] == "password"
    assert password not in json.dumps(details)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer x", "Bearer a.b.c", "Token x", "Bearer null", "Bearer ...."],
)
def test_without_a_token_the_answer_is_401(server: Server, header: str | None) -> None:
    reply = server.client().request("GET", ME, headers={} if header is None else {"Authorization": header})

    assert_error(reply, 401)
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_token_is_taken_in_any_case(account: Client, scheme: str) -> None:
    assert Client(account.url).get("/api/v1/flows").status == 401
    reply = Client(account.url).request("GET", "/api/v1/flows", headers={"Authorization": f"{scheme} {account.token}"})

    assert reply.status == 200


def test_s11_no_token_is_taken_from_a_url(account: Client) -> None:
    nobody = Client(account.url)

    for name in ("token", "access_token", "authorization", "ticket"):
        assert_error(nobody.get(ME, **{name: account.token}), 401)


def test_a_refresh_gives_a_new_token_and_the_old_one_lives_on_for_a_moment(account: Client) -> None:
    reply = account.post("/api/v1/auth/refresh")

    assert reply.status == 200
    assert reply.json.keys() == {"token", "expires_at", "account_id"}
    assert reply.json["account_id"] == account.account_id
    assert reply.json["token"] != account.token
    assert Client(account.url, reply.json["token"]).get(ME).status == 200
    # That it ends within ten seconds is seen where a server is restarted meanwhile.
    assert account.get(ME).status == 200, "requests under way with the old token must not fail"


def test_a_token_is_refreshed_once(account: Client) -> None:
    newer = account.post("/api/v1/auth/refresh").json["token"]

    assert_error(account.post("/api/v1/auth/refresh"), 401)
    assert Client(account.url, newer).post("/api/v1/auth/refresh").status == 200


def test_a_logout_ends_the_token_at_once(account: Client) -> None:
    assert account.get(ME).status == 200

    reply = account.post("/api/v1/auth/logout")

    assert reply.status == 200
    assert reply.json == {"message": "Logged out successfully"}
    assert_error(account.get(ME), 401)
    assert_error(account.post("/api/v1/auth/logout"), 401)
    assert_error(account.post("/api/v1/auth/refresh"), 401)


def test_a_logout_ends_what_a_token_was_refreshed_from_and_into(account: Client) -> None:
    newer = Client(account.url, account.post("/api/v1/auth/refresh").json["token"])

    newer.post("/api/v1/auth/logout")

    assert_error(newer.get(ME), 401)
    assert_error(account.get(ME), 401)


def test_a_logout_leaves_other_logins_alone(account: Client) -> None:
    second = Client(account.url).login(account.email, PASSWORD)

    account.post("/api/v1/auth/logout")

    assert second.get(ME).status == 200


def test_s11_a_ticket_is_made_for_who_is_logged_in(account: Client) -> None:
    reply = account.post("/api/v1/auth/ws-ticket")

    assert reply.status == 201
    assert reply.json.keys() == {"ticket", "expires_at"}
    assert timedelta(0) < moment(reply.json["expires_at"]) - datetime.now(UTC) <= timedelta(seconds=30)
    assert_error(Client(account.url).post("/api/v1/auth/ws-ticket"), 401)
    # It opens a WebSocket and nothing else.
    assert_error(Client(account.url, reply.json["ticket"]).get(ME), 401)


def test_a_changed_password_or_role_ends_every_session(admin: Client, account: Client) -> None:
    path = f"/api/v1/accounts/{account.account_id}"
    second = Client(account.url).login(account.email, PASSWORD)

    assert account.put(path, {"password": "another-quiet-heron-1", "current_password": PASSWORD}).status == 200

    assert_error(account.get(ME), 401)
    assert_error(second.get(ME), 401)
    account.login(account.email, "another-quiet-heron-1")
    assert admin.put(path, {"role": "admin"}).status == 200
    assert_error(account.get(ME), 401)
    assert admin.put(path, {"role": "user"}).status == 200


def test_a_deleted_account_has_no_token_and_no_login(admin: Client, account: Client) -> None:
    assert admin.delete(f"/api/v1/accounts/{account.account_id}").json == {"message": "Account deleted successfully"}

    assert_error(account.get(ME), 401)
    assert_error(account.post("/api/v1/auth/login", {"username": account.email, "password": PASSWORD}), 401)
    assert_error(admin.get(f"/api/v1/accounts/{account.account_id}"), 404, "Account not found")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"username", "password"}),
        ({"username": "a@example.com"}, {"password"}),
        ({"username": 1, "password": None}, {"username", "password"}),
        ({"username": "a@example.com", "password": "x", "role": "admin"}, {"role"}),
        ([], {""}),
    ],
)
def test_a_login_says_every_fault_of_its_body(server: Server, body: Any, fields: set[str]) -> None:
    details = assert_error(server.client().post("/api/v1/auth/login", body), 422)

    assert {error["path"] for error in details["errors"]} == fields


# Forged tokens


def _part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(header: Any, claims: Any, key: bytes, digest: Any = hashlib.sha256) -> str:
    text = f"{_part(header)}.{_part(claims)}"
    return f"{text}.{_part(hmac.new(key, text.encode(), digest).digest())}"


def forgeries(token: str, key: bytes) -> Iterator[tuple[str, str]]:
    """Tokens made of a good one, with and without the key that it was signed with."""
    head, payload, signature = token.split(".")
    header: dict[str, Any] = jwt.get_unverified_header(token)
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    now = int(time.time())

    for name in ("none", "None", "NONE", "nOnE", "", None, "null"):
        yield f"alg {name!r}, no signature", f"{_part({**header, 'alg': name})}.{payload}."
        yield f"alg {name!r}, old signature", f"{_part({**header, 'alg': name})}.{payload}.{signature}"
    for name in ("HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256", "HS257"):
        digest = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(name, hashlib.sha256)
        yield f"alg {name} with the right key", _signed({**header, "alg": name}, claims, key, digest)
    for name, wrong in (
        ("empty", b""), ("zero", b"\0" * 32), ("its id", header["kid"].encode()), ("text of it", key.hex().encode()),
        ("secret", b"secret"), ("flowrunner", b"flowrunner"),
    ):  # fmt: skip
        yield f"key: {name}", _signed(header, claims, wrong)
    yield "no signature", f"{head}.{payload}."
    yield "two parts", f"{head}.{payload}"
    yield "four parts", f"{token}.{signature}"
    yield "signature cut", token[:-6]
    yield "signature longer", f"{token}AAAA"
    yield "signature of zeros", f"{head}.{payload}.{_part(bytes(32))}"
    yield "null signature", f"{head}.{payload}.null"
    yield "claims changed", f"{head}.{_part({**claims, 'sub': 'account-1'})}.{signature}"
    yield "header reordered", f"{_part(dict(reversed(header.items())))}.{payload}.{signature}"
    for extra in (
        {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/c"}, {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5c": ["AAAA"]}, {"crit": ["exp"]}, {"b64": False}, {"zip": "DEF"}, {"enc": "A128GCM"}, {"cty": "JWT"},
    ):  # fmt: skip
        yield f"header {next(iter(extra))}", _signed({**header, **extra}, claims, key)
    for kid in ("", "x", "../../keys/signing.key", "/dev/null", "' OR 1=1 --", "http://127.0.0.1:1/", None, 1, ["a"]):
        yield f"kid {kid!r}", _signed({**header, "kid": kid}, claims, key)
    yield "no kid", _signed({"alg": "HS256", "typ": "JWT"}, claims, key)
    for name in claims:
        yield f"without {name}", _signed(header, {k: v for k, v in claims.items() if k != name}, key)
    for name, value in (
        ("exp", now - 1), ("exp", 0), ("exp", "later"), ("exp", None), ("nbf", now + 60), ("iat", now + 600),
        ("iss", "somebody"), ("aud", "something"), ("aud", []), ("typ", "refresh"), ("typ", "ticket"), ("typ", None),
        ("jti", ""), ("jti", "unknown"), ("jti", None), ("jti", 1), ("jti", ["a"]), ("jti", {"a": 1}),
    ):  # fmt: skip
        yield f"{name} {value!r}", _signed(header, {**claims, name: value}, key)
    for name in ("exp", "nbf", "iat"):
        for number in (float("inf"), float("nan")):
            yield f"{name} {number}", _signed(header, {**claims, name: number}, key)
    yield "claims are a list", _signed(header, [claims], key)
    yield "claims are no JSON", _signed(header, b"{", key)
    yield "header is no JSON", f"{_part(b'{')}.{payload}.{signature}"
    yield "header is a list", f"{_part([1])}.{payload}.{signature}"
    yield "deep header", f"{_part(b'[' * 2000)}.{payload}.{signature}"
    yield "not base64", "!.!.!"
    yield "very long", f"{head}.{'A' * 5000}.{signature}"
    yield "dots", "." * 50


def test_s05_s06_s07_forged_tokens_are_refused(server: Server, account: Client) -> None:
    assert account.token is not None
    key = bytes.fromhex((server.data_dir / "keys" / "signing.key").read_text().strip())
    claims = jwt.decode(account.token, options={"verify_signature": False})
    header = jwt.get_unverified_header(account.token)
    # The forger's tools work: with the right key and nothing changed the token is good.
    assert Client(account.url, _signed(header, claims, key)).get(ME).status == 200

    forged = list(forgeries(account.token, key))
    taken = [name for name, token in forged if Client(account.url, token).get(ME).status != 401]

    assert taken == []
    assert len(forged) >= 90
    assert account.get(ME).status == 200


def test_a_token_of_a_server_whose_clock_is_a_little_ahead_is_good(server: Server, account: Client) -> None:
    assert account.token is not None
    key = bytes.fromhex((server.data_dir / "keys" / "signing.key").read_text().strip())
    claims = jwt.decode(account.token, options={"verify_signature": False})
    header, soon = jwt.get_unverified_header(account.token), int(time.time()) + 20

    token = _signed(header, {**claims, "iat": soon, "nbf": soon}, key)

    assert Client(account.url, token).get(ME).status == 200


def test_a_token_of_another_session_cannot_be_made_from_its_parts(account: Client, other: Client) -> None:
    assert account.token is not None
    assert other.token is not None
    mine, theirs = account.token.split("."), other.token.split(".")

    assert_error(Client(account.url, ".".join((mine[0], theirs[1], mine[2]))).get(ME), 401)


def test_times_of_an_account_are_told(account: Client) -> None:
    found = account.get(f"/api/v1/accounts/{account.account_id}").json

    assert_recent(found["created_at"])
    assert_recent(found["updated_at"])


def test_s03_guesses_are_throttled_and_the_owner_logs_in_from_elsewhere(account: Client) -> None:
    def log_in(password: str, source: str) -> int:
        connection = http.client.HTTPConnection(*account.address, timeout=60, source_address=(source, 0))
        try:
            body = json.dumps({"username": account.email, "password": password})
            connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 429:
                assert 1 <= int(answer.headers["Retry-After"]) <= 900
                assert json.loads(answer.read())["error"]["code"] == "too_many_requests"
            return answer.status
        finally:
            connection.close()

    guesses = [log_in(f"wrong-password-{n}", "127.0.0.1") for n in range(60)]

    assert guesses == [401] * 20 + [429] * 40
    assert log_in(PASSWORD, "127.0.0.1") == 429
    assert log_in(PASSWORD, "127.0.0.2") == 200
