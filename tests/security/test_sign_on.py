"""Attacks on logins by OpenID Connect providers: a real provider on loopback, and one that lies."""

import asyncio
import json
import sqlite3
import time
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, NoReturn

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from flowrunner.bootstrap.program import Program
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.sign_on import SignOnFailed, own_path, providers_of
from flowrunner.lru_cache import LruCache
from flowrunner.plugin import HttpAnswer, NodeFailure
from flowrunner.ports.sign_on import LoginState
from flowrunner.security import openid
from flowrunner.services.rates import Allowance
from flowrunner.settings import InvalidSettings, load_settings
from flowrunner.storage.identities import SqlIdentities
from support.asgi import call, program_at
from support.client import PASSWORD, Reply
from support.databases import change, rows_of
from support.dependencies import SteppingClock, answer
from support.networks import LOOPBACK
from support.openid import ACCOUNTS, CLIENT, LyingProvider, RealProvider, cookie_of, parameters_of, unsigned
from support.scoreboard import Scoreboard

HOST: Final = "flows.example.test:8080"
URL: Final = f"http://{HOST}"
START: Final = "/sign-on"
GROUPS: Final = [
    {"group": "eng", "workspace": "team", "role": "editor"},
    {"group": "leads", "workspace": "team", "role": "admin"},
]


class Browser:
    """A browser on the way to a provider and back."""

    def __init__(self, program: Program, address: str = "192.0.2.1") -> None:
        self.program = program
        self.address = address
        self.cookies: dict[str, str] = {}

    async def get(self, target: str) -> Reply:
        parts = urllib.parse.urlsplit(target)
        headers = {"host": HOST, "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        path = f"{parts.path}?{parts.query}"
        reply = await call(self.program.app, "GET", path, headers=headers, address=self.address)
        for header in reply.headers.get("set-cookie", "").splitlines():
            name, value = cookie_of(header)
            self.cookies[name] = value
            if "Max-Age=0" in header:
                del self.cookies[name]
        return reply

    async def start(self, provider: str, next: str = "/w/x") -> dict[str, str]:
        """Begin a login; return the parameters that the provider gets."""
        reply = await self.get(f"{START}/{provider}?{urllib.parse.urlencode({'next': next})}")
        assert reply.status == 303, reply
        self.url = reply.headers["location"]
        return parameters_of(self.url)

    async def come_back(self, provider: str, **parameters: Any) -> Reply:
        return await self.get(f"{START}/{provider}/return?{urllib.parse.urlencode(parameters)}")

    @property
    def is_logged_in(self) -> bool:
        return "flowrunner_session" in self.cookies


@pytest.fixture(scope="module")
def real() -> Iterator[RealProvider]:
    running = RealProvider(f"{URL}{START}/real/return")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def liar() -> Iterator[LyingProvider]:
    running = LyingProvider().start()
    yield running
    running.stop()


@asynccontextmanager
async def program_with(
    directory: Path, *issuers: tuple[str, str], settings: Mapping[str, Any] | None = None, **changes: Any
) -> AsyncIterator[Program]:
    described = {id: {"issuer": issuer, **CLIENT, "create_accounts": True, **changes} for id, issuer in issuers}
    scopes = {"scopes": ["openid", "email", "profile", "groups"], "groups": GROUPS}
    providers = providers_of({id: {**scopes, **value} for id, value in described.items()})
    given: dict[str, Any] = {"public_url": URL, "sign_on": providers, "sign_on_allow": (LOOPBACK,), **(settings or {})}
    async with program_at(directory / "data", **given) as program:
        yield program


def rows(directory: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / "data" / "flowrunner.db")) as connection:
        return list(connection.execute(statement))


async def test_s72_a_login_by_a_real_provider_makes_an_account_with_the_roles_of_its_groups(
    tmp_path: Path, real: RealProvider
) -> None:
    async with program_with(tmp_path, ("real", real.issuer)) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        team = json.dumps({"name": "Team", "slug": "team"}).encode()
        assert (await call(program.app, "POST", "/api/v1/workspaces", token=token, body=team)).status == 201

        async def log_in(login: str) -> Browser:
            browser = Browser(program)
            await browser.start("real", "/w/team/flows?tag=a")
            reply = await browser.get(await asyncio.to_thread(real.log_in, browser.url, login))
            assert reply.headers["location"] == "/w/team/flows?tag=a", reply
            return browser

        async def role(browser: Browser) -> str | None:
            found = (await browser.get("/api/v1/workspaces")).json["workspaces"]
            return next((each["role"] for each in found if each["slug"] == "team"), None)

        browser = await log_in("ada")
        me = (await browser.get("/api/v1/accounts/me")).json
        assert (me["name"], me["email"], me["role"]) == ("Ada", "ada@example.com", "user")
        assert await role(browser) == "editor"

        # The roles follow the groups at each login; the account stays the same, whatever its address.
        changed = {"email": "countess@example.com", "email_verified": True, "groups": ["leads", "eng"]}
        real.change(accounts={"ada": {"claims": changed}})
        # A login that changes nothing adds no entry to the audit log.
        _, again = await log_in("ada"), await log_in("ada")
        assert (await again.get("/api/v1/accounts/me")).json["id"] == me["id"]
        assert await role(again) == "admin"
        real.change(accounts={"ada": {"claims": {**changed, "groups": []}}})
        assert await role(await log_in("ada")) is None
        assert await role(browser) is None

        # A key that is not known is looked for, though not again and again; one of its disabled accounts gets no code.
        await asyncio.to_thread(real.change, rotate=True)
        rotated = Browser(program)
        await rotated.start("real")
        back = await asyncio.to_thread(real.log_in, rotated.url, "bob")
        program.services.sign_on._client._known["real"].keys_at -= openid._REST * 2  # type: ignore[attr-defined]
        await rotated.get(back)
        assert rotated.is_logged_in
        real.change(accounts={"bob": {"disabled": True}})
        disabled = Browser(program)
        await disabled.start("real")
        reply = await disabled.get(await asyncio.to_thread(real.log_in, disabled.url, "bob"))
        assert reply.headers["location"] == "/login?sign_on=refused"
        assert not disabled.is_logged_in
    real.change(accounts=ACCOUNTS)
    entries = rows(tmp_path, "SELECT action, credential FROM audit WHERE credential LIKE 'provider:%' ORDER BY seq")
    assert ("account.created", "provider:real") in entries
    assert [action for action, _ in entries if action.startswith("member.")] == [
        "member.added", "member.changed", "member.removed",
    ]  # fmt: skip


def forged_cookies(value: str) -> Iterator[tuple[str, str]]:
    claims = jwt.decode(value, options={"verify_signature": False})
    yield "a cookie that was changed", value[:-8] + ("A" * 8)
    yield "an unsigned cookie", unsigned(claims, {"alg": "none"})
    yield "a cookie signed with another key", jwt.encode(claims, "k" * 32, "HS256")
    yield "a cookie with a longer life", unsigned({**claims, "exp": 2**33}, {"alg": "HS256"}, value.rpartition(".")[2])
    yield "an empty cookie", ""


async def test_s72_codes_states_and_cookies_of_a_real_provider_are_no_use_to_others(  # noqa: PLR0915 # a list
    tmp_path: Path, real: RealProvider, liar: LyingProvider, scoreboard: Scoreboard
) -> None:
    liar.reset()
    taken: list[str] = []
    tried = 0
    async with program_with(tmp_path, ("real", real.issuer), ("liar", liar.issuer)) as program:

        async def returned(login: str = "ada") -> tuple[Browser, dict[str, str]]:
            browser = Browser(program)
            await browser.start("real")
            return browser, parameters_of(await asyncio.to_thread(real.log_in, browser.url, login))

        def check(what: str, *browsers: Browser) -> None:
            nonlocal tried
            tried += 1
            if any(browser.is_logged_in for browser in browsers):
                taken.append(what)

        _, stolen = await returned()
        stranger = Browser(program)
        await stranger.come_back("real", **stolen)
        check("a code in a browser without a cookie", stranger)

        _, stolen = await returned()
        stranger = Browser(program)
        mine = await stranger.start("real")
        await stranger.come_back("real", **{**stolen, "state": mine["state"]})
        check("another browser's code with one's own state: PKCE", stranger)

        _, stolen = await returned()
        stranger = Browser(program)
        await stranger.start("real")
        await stranger.come_back("real", **stolen)
        check("another browser's code and state (login CSRF)", stranger)

        other_client = Browser(program)
        await other_client.start("real")
        url = other_client.url.replace("client_id=flowrunner", "client_id=other")
        await other_client.get(await asyncio.to_thread(real.log_in, url, "ada"))
        check("a code that another client got", other_client)

        late, parameters = await returned()
        await asyncio.to_thread(real.change, expire=True)
        await late.come_back("real", **parameters)
        check("an expired code", late)

        changes: dict[str, dict[str, str | None]] = {
            "no state": {"state": None}, "an empty state": {"state": ""}, "a longer state": {"state": "x" * 43},
            "no code": {"code": None}, "an invented code": {"code": "x" * 43},
            "a foreign issuer": {"iss": liar.issuer}, "no issuer although the provider names itself": {"iss": None},
            "an error beside the code": {"error": "access_denied"},
        }  # fmt: skip
        for what, change in changes.items():
            browser, parameters = await returned()
            given = {name: value for name, value in {**parameters, **change}.items() if value is not None}
            await browser.come_back("real", **given)
            check(what, browser)

        browser, parameters = await returned()
        await browser.come_back("liar", **parameters)
        check("a mix-up: the code of one provider at the address of another", browser)
        assert all(form.get("code") != parameters["code"] for _, form in liar.requests)

        browser, parameters = await returned()
        before = dict(browser.cookies)
        await browser.come_back("real", **parameters)
        assert browser.is_logged_in
        browser.cookies = before
        await browser.come_back("real", **parameters)
        check("code, state and cookie again", browser)

        browser, parameters = await returned()
        (name, value), *_ = browser.cookies.items()
        for what, forged in forged_cookies(value):
            browser.cookies = {name: forged}
            await browser.come_back("real", **parameters)
            check(what, browser)
        async with program_with(tmp_path / "other", ("real", real.issuer)) as other:
            elsewhere = Browser(other)
            await elsewhere.start("real")
            browser.cookies = elsewhere.cookies
            await browser.come_back("real", **parameters)
            check("a cookie of another installation", browser)
    scoreboard.count("single sign-on: stolen returns that logged in", cases=tried, failures=len(taken))
    assert taken == []
    assert rows(tmp_path, "SELECT count(*) FROM accounts") == [(1,)]


def hostile_tokens(liar: LyingProvider) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ways in which an ID token is not one, as changes of the provider."""
    now = int(time.time())
    public = liar.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other, small = (rsa.generate_private_key(public_exponent=65537, key_size=size) for size in (2048, 1024))
    for what, claims in {
        "another issuer": {"iss": "http://127.0.0.1:1"}, "a longer issuer": {"iss": f"{liar.issuer}/"},
        "no issuer": {"iss": None}, "another audience": {"aud": "other"}, "no audience": {"aud": None},
        "an empty audience": {"aud": []}, "several audiences without azp": {"aud": ["flowrunner", "other"]},
        "another party": {"azp": "other"}, "several audiences for another": {"aud": ["flowrunner", "x"], "azp": "x"},
        "another nonce": {"nonce": "x" * 43}, "no nonce": {"nonce": None}, "an empty nonce": {"nonce": ""},
        "a nonce of another type": {"nonce": ["x"]}, "expired": {"exp": now - 61}, "no expiry": {"exp": None},
        "an expiry that is no number": {"exp": "tomorrow"}, "issued in the future": {"iat": now + 120},
        "issued an hour ago": {"iat": now - 3600}, "no issue time": {"iat": None}, "not yet valid": {"nbf": now + 120},
        "no subject": {"sub": None}, "an empty subject": {"sub": ""}, "a subject that is a number": {"sub": 7},
        "a subject of 256 characters": {"sub": "x" * 256}, "half a character as subject": {"sub": "\ud800"},
        "a subject with a null character": {"sub": "a\0b"}, "an issue time that is a text": {"iat": str(now)},
        "issued before all time": {"iat": -(10**400)},
        "no address": {"email": None}, "an address that is not verified": {"email_verified": False},
        "an address with two scripts": {"email": "rооt@example.com"}, "no address at all": {"email": "root"},
    }.items():  # fmt: skip
        yield what, {"claims": claims}

    def hmac_with(key: bytes) -> Any:
        # The library refuses to sign with a public key, so the signature is made by hand.
        def sign(claims: dict[str, Any]) -> str:
            import base64
            import hashlib
            import hmac

            text = unsigned(claims, {"alg": "HS256", "kid": "k1"})[:-1]
            digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
            return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

        return sign

    signed = jwt.encode({"x": 1}, liar.key, "RS256", headers={"kid": "k1"}).rpartition(".")[2]
    for what, sign in {
        "alg none": lambda claims: unsigned(claims, {"alg": "none"}),
        "alg None": lambda claims: unsigned(claims, {"alg": "None", "kid": "k1"}),
        "no alg": lambda claims: unsigned(claims, {"kid": "k1"}),
        "RS256 without a signature": lambda claims: unsigned(claims, {"alg": "RS256", "kid": "k1"}),
        "the signature of another token": lambda claims: unsigned(claims, {"alg": "RS256", "kid": "k1"}, signed),
        "HS256 with the public key": hmac_with(public),
        "HS256 with the client's secret": hmac_with(CLIENT["client_secret"].encode()),
        "HS256 with an empty key": hmac_with(b""),
        "another key": lambda claims: jwt.encode(claims, other, "RS256", headers={"kid": "k1"}),
        "another key with its own in the header": lambda claims: jwt.encode(
            claims, other, "RS256",
            headers={"jwk": jwt.algorithms.RSAAlgorithm.to_jwk(other.public_key(), as_dict=True)},
        ),
        "another key by an address in the header": lambda claims: jwt.encode(
            claims, other, "RS256", headers={"jku": f"{liar.issuer}/evil", "kid": "evil"}
        ),
        "an unknown kid": lambda claims: jwt.encode(claims, liar.key, "RS256", headers={"kid": "k2"}),
        "a kid with a path": lambda claims: jwt.encode(claims, liar.key, "RS256", headers={"kid": "../../k1"}),
        "a critical header": lambda claims: jwt.encode(claims, liar.key, "RS256", headers={"kid": "k1", "crit": ["x"]}),
        "a key of another kind": lambda claims: jwt.encode(
            claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "k1"}
        ),
        "two parts": lambda claims: unsigned(claims, {"alg": "RS256"})[:-1],
        "no token": lambda claims: "",
        "a token of 40,000 characters": lambda claims: "x" * 40_000,
    }.items():  # fmt: skip
        yield what, {"sign": sign}
    key = jwt.algorithms.RSAAlgorithm.to_jwk(small.public_key(), as_dict=True)
    yield (
        "a key of 1024 bits",
        {
            "sign": lambda claims: jwt.encode(claims, small, "RS256", headers={"kid": "small"}),
            "answers": {"/jwks": (200, {}, json.dumps({"keys": [{**key, "kid": "small"}]}).encode())},
        },
    )
    yield (
        "a symmetric key among the keys",
        {
            "sign": hmac_with(b"k" * 32),
            "answers": {
                "/jwks": (200, {}, b'{"keys": [{"kty": "oct", "k": "a2tra2tra2s", "kid": "k1", "alg": "HS256"}]}')
            },
        },
    )
    yield "userinfo of another account", {
        "claims": {"email": None}, "metadata": {"userinfo_endpoint": f"{liar.issuer}/userinfo"},
        "userinfo": {"sub": "ada", "email": "eve@example.com", "email_verified": True},
    }  # fmt: skip
    yield "an address that only userinfo verifies", {
        "claims": {"email_verified": False, "groups": None},
        "metadata": {"userinfo_endpoint": f"{liar.issuer}/userinfo"},
        "userinfo": {"sub": "eve", "email_verified": True},
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_s72_what_a_lying_provider_answers_opens_no_session(
    tmp_path: Path, liar: LyingProvider, scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, tried = [], 0
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        client: Any = program.services.sign_on._client

        async def log_in() -> tuple[Browser, Reply]:
            client._known.clear()
            browser = Browser(program)
            liar.nonce = (await browser.start("liar"))["nonce"]
            return browser, await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])

        for what, changes in hostile_tokens(liar):
            liar.reset()
            for name, value in changes.items():
                setattr(liar, name, value)
            browser, reply = await log_in()
            tried += 1
            if browser.is_logged_in or not reply.headers["location"].startswith("/login?sign_on="):
                taken.append(what)
        assert rows(tmp_path, "SELECT count(*) FROM accounts") == [(0,)]
        scoreboard.count("single sign-on: false ID tokens accepted", cases=tried, failures=len(taken))
        assert taken == []
        assert tried >= 45
        liar.reset()
        assert (await log_in())[0].is_logged_in


def honest_tokens(liar: LyingProvider) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ways in which providers answer that are unusual and allowed, as changes of the provider."""
    now = int(time.time())
    unusual: dict[str, dict[str, Any]] = {
        "a list with one audience": {"aud": ["flowrunner"]}, "the client as the party": {"azp": "flowrunner"},
        "several audiences": {"aud": ["flowrunner", "other"], "azp": "flowrunner"},
        "expired a moment ago": {"exp": now - 30}, "issued in a moment": {"iat": now + 30, "nbf": now + 30},
        "issued ten minutes ago": {"iat": now - 620}, "a text as the groups": {"groups": "eng"},
        "a group that is a number": {"groups": [7, "eng"]}, "no groups": {"groups": []},
        "a text that says yes": {"sub": "tom", "email": "tom@example.com", "email_verified": "true"},
        "no name": {"name": None},
        "a subject of 255 characters": {"sub": "x" * 255, "email": "x@example.com"},
        "no list of groups": {"sub": "ann", "email": "ann@example.com", "groups": {"eng": True}},
    }  # fmt: skip
    for what, claims in unusual.items():
        yield what, {"claims": {"groups": ["eng"], **claims}}

    def signed_by(key: Any, algorithm: str, **header: str) -> Any:
        return lambda claims: jwt.encode(claims, key, algorithm, headers=header)

    curve, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    keys = [
        jwt.algorithms.ECAlgorithm.to_jwk(curve.public_key(), as_dict=True) | {"kid": "k2", "alg": "ES256"},
        jwt.algorithms.OKPAlgorithm.to_jwk(edwards.public_key(), as_dict=True) | {"use": "sig", "kid": "k3"},
        # The same kid may stand for a key of another kind, use or algorithm.
        {**liar.jwk, "use": "enc"}, {**liar.jwk, "alg": "RS512"}, {"kty": "new", "kid": "k1"}, liar.jwk, "none",
    ]  # fmt: skip
    eng = {"claims": {"groups": ["eng"]}}
    jwks = {"answers": {"/jwks": (200, {}, json.dumps({"keys": keys}).encode())}, **eng}
    unnamed = {name: value for name, value in liar.jwk.items() if name in ("kty", "n", "e")}
    alone = {"answers": {"/jwks": (200, {}, json.dumps({"keys": [unnamed]}).encode())}, **eng}
    yield "one key of many", {"sign": signed_by(liar.key, "RS256", kid="k1"), **jwks}
    yield "a key of a curve", {"sign": signed_by(curve, "ES256", kid="k2"), **jwks}
    yield "the only key of its kind, without a kid", {"sign": signed_by(edwards, "EdDSA"), **jwks}
    yield "the only key, of which nothing is said", {"sign": signed_by(liar.key, "PS384"), **alone}
    from_userinfo: list[tuple[list[str], list[str]]] = [
        (["email", "email_verified", "groups"], ["eng"]), (["groups"], ["eng"]), (["email", "email_verified"], ["eng"]),
        (["groups"], ["eng", *map(str, range(10_000))]),
    ]  # fmt: skip
    for number, (absent, groups) in enumerate(from_userinfo):
        facts = {"sub": f"s{number}", "email": f"s{number}@example.com", "email_verified": True, "groups": groups}
        yield f"{len(groups)} groups, with {absent} from userinfo", {
            "claims": facts | dict.fromkeys(absent), "userinfo": facts,
            "metadata": {"userinfo_endpoint": f"{liar.issuer}/userinfo"},
        }  # fmt: skip
    yield "ways to send the secret that are no list", {
        "metadata": {"token_endpoint_auth_methods_supported": True}, **eng,
    }  # fmt: skip
    yield "a secret in the form", {"metadata": {"token_endpoint_auth_methods_supported": ["client_secret_post"]}, **eng}


async def test_what_providers_are_allowed_to_answer_opens_a_session(tmp_path: Path, liar: LyingProvider) -> None:
    refused, without_group, forms = [], [], {}
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        client: Any = program.services.sign_on._client
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        team = b'{"name": "Team", "slug": "team"}'
        assert (await call(program.app, "POST", "/api/v1/workspaces", token=token, body=team)).status == 201
        for what, changes in honest_tokens(liar):
            liar.reset()
            for name, value in changes.items():
                setattr(liar, name, value)
            client._known.clear()
            browser = Browser(program)
            liar.nonce = (await browser.start("liar"))["nonce"]
            await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])
            refused += [] if browser.is_logged_in else [what]
            found = (await browser.get("/api/v1/workspaces")).json["workspaces"]
            without_group += [] if any(each["slug"] == "team" for each in found) else [what]
            forms[what] = [form for path, form in liar.requests if path == "/token"][-1]
        liar.reset()

    assert refused == []
    assert without_group == ["no groups", "no list of groups", "10001 groups, with ['groups'] from userinfo"]
    assert [what for what, form in forms.items() if "client_secret" in form] == ["a secret in the form"]
    assert forms["a secret in the form"].items() >= CLIENT.items()


async def test_s72_s36_answers_of_providers_are_bounded(
    tmp_path: Path, liar: LyingProvider, scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openid, "_SECONDS", 0.5)
    evil = LyingProvider().start()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(15):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return
            time.sleep(0.1)

    hostile = {
        "a redirect": (302, {"location": f"{evil.issuer}/.well-known/openid-configuration"}, b""),
        "a permanent redirect": (308, {"location": evil.issuer}, b""),
        "a drip": (200, {}, slow),
        "a megabyte": (200, {}, b'{"x": "' + b"x" * 1_000_000 + b'"}'),
        "deep JSON": (200, {}, b'{"x":' * 5_000 + b"1" + b"}" * 5_000),
        "a key given twice": (200, {}, b'{"issuer": "x", "issuer": "y"}'),
        "a list": (200, {}, b"[]"),
        "text": (200, {"content-type": "text/html"}, b"<html>"),
        "nothing": (200, {}, b""),
        "an error": (500, {}, b"{}"),
        "a refusal": (401, {}, b'{"error": "invalid_client"}'),
    }
    discovered: dict[str, dict[str, Any]] = {
        "another issuer": {"issuer": evil.issuer}, "an issuer with a slash": {"issuer": f"{liar.issuer}/"},
        "no issuer": {"issuer": None}, "no token endpoint": {"token_endpoint": None},
        "a file": {"jwks_uri": "file:///etc/passwd"}, "a script": {"authorization_endpoint": "javascript:alert(1)"},
        "an address with a line break": {"authorization_endpoint": "http://127.0.0.1/\r\nset-cookie: a=b"},
        "a number": {"token_endpoint": 7},
    }  # fmt: skip
    taken, tried = [], 0
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        client: Any = program.services.sign_on._client

        async def attempt(what: str) -> None:
            nonlocal tried
            client._known.clear()
            browser = Browser(program)
            reply = await browser.get(f"{START}/liar")
            if "flowrunner_sign_on" in browser.cookies:
                given = parameters_of(reply.headers["location"])
                liar.nonce = given["nonce"]
                reply = await browser.come_back("liar", code="c", state=given["state"])
            tried += 1
            is_refused = reply.status == 303 and reply.headers["location"].startswith("/login?sign_on=")
            if browser.is_logged_in or not is_refused:
                taken.append(what)

        for path in ("/.well-known/openid-configuration", "/token", "/jwks"):
            for what, (status, headers, body) in hostile.items():
                liar.reset()
                liar.answers = {path: (status, headers, body)}
                await attempt(f"{what} at {path}")
        for what, metadata in discovered.items():
            liar.reset()
            liar.metadata = metadata
            await attempt(what)
        # An address that is closed to it, as that of a metadata service is always.
        for address in ("http://169.254.169.254/jwks", "http://10.0.0.1/jwks"):
            liar.reset()
            liar.metadata = {"jwks_uri": address}
            await attempt(address)
        assert evil.requests == []
        evil.stop()
        scoreboard.count("single sign-on: hostile answers accepted", cases=tried, failures=len(taken))
        assert taken == []

        # What failed a moment ago is not asked for again, however many begin a login.
        liar.reset()
        liar.answers = {"/.well-known/openid-configuration": (500, {}, b"{}")}
        client._known.clear()
        liar.requests.clear()
        await asyncio.gather(*(Browser(program).get(f"{START}/liar") for _ in range(50)))
        assert len(liar.requests) == 1
        liar.reset()


async def test_s72_accounts_are_linked_by_issuer_and_subject_and_never_by_their_address(
    tmp_path: Path, liar: LyingProvider
) -> None:
    liar.reset()
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")

        async def log_in(browser: Browser, **claims: Any) -> Reply:
            liar.claims = claims
            given = await browser.start("liar")
            liar.nonce = given["nonce"]
            return await browser.come_back("liar", code="c", state=given["state"])

        thief = Browser(program)
        reply = await log_in(thief, email="ROOT@example.com")
        assert (thief.is_logged_in, reply.headers["location"]) == (False, "/login?sign_on=email_taken")

        # The owner links it, with a recent login; from then on it logs in, whatever address it has.
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        body = json.dumps({"provider": "liar", "next": "/w/x/account"}).encode()
        reply = await call(program.app, "POST", "/api/v1/identities", token=token, body=body, headers={"host": HOST})
        owner = Browser(program)
        name, value = cookie_of(reply.headers["set-cookie"])
        owner.cookies[name] = value
        given = parameters_of(reply.json["url"])
        liar.claims, liar.nonce = {"sub": "root-there", "email": None}, given["nonce"]
        back = await owner.come_back("liar", code="c", state=given["state"])
        assert (back.headers["location"], owner.is_logged_in) == ("/w/x/account", False)
        linked = Browser(program)
        await log_in(linked, sub="root-there", email="other@example.com")
        me = (await linked.get("/api/v1/accounts/me")).json
        assert me["email"] == "root@example.com"

        # A login without a password is none with an empty one, and its last link cannot be removed.
        await log_in(new := Browser(program), sub="eve")
        for password in ("", "!", PASSWORD):
            wrong = json.dumps({"username": "eve@example.com", "password": password}).encode()
            assert (await call(program.app, "POST", "/api/v1/auth/login", body=wrong)).status == 401
        (identity,) = (await new.get("/api/v1/identities")).json["identities"]
        headers = {"host": HOST, "origin": URL, "cookie": f"flowrunner_session={new.cookies['flowrunner_session']}"}
        gone = await call(program.app, "DELETE", f"/api/v1/identities/{identity['id']}", headers=headers)
        assert gone.status == 409

        # A disabled account stays out, with its session.
        id = (await new.get("/api/v1/accounts/me")).json["id"]
        disabled = json.dumps({"disabled": True}).encode()
        changed = await call(program.app, "PUT", f"/api/v1/accounts/{id}", token=token, body=disabled)
        assert changed.status == 200
        assert (await new.get("/api/v1/accounts/me")).status == 401
        reply = await log_in(again := Browser(program), sub="eve")
        assert (again.is_logged_in, reply.headers["location"]) == (False, "/login?sign_on=disabled")
    async with program_with(tmp_path, ("liar", liar.issuer), create_accounts=False) as program:
        given = await (unknown := Browser(program)).start("liar")
        liar.claims, liar.nonce = {"sub": "mallory", "email": "mallory@example.com"}, given["nonce"]
        reply = await unknown.come_back("liar", code="c", state=given["state"])
        assert (unknown.is_logged_in, reply.headers["location"]) == (False, "/login?sign_on=no_account")


async def test_s72_logins_during_an_outage_of_the_database_are_no_failures(
    tmp_path: Path, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_away(*_: object) -> NoReturn:
        raise Unavailable("the database is away")

    liar.reset()
    most = 5
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        monkeypatch.setattr(program.services.sign_on, "_failures", Allowance(most, limit="", message=""))

        async def log_in() -> tuple[Browser, Reply]:
            browser = Browser(program)
            liar.nonce = (given := await browser.start("liar"))["nonce"]
            return browser, await browser.come_back("liar", code="c", state=given["state"])

        with monkeypatch.context() as outage:
            outage.setattr(SqlIdentities, "find", is_away)
            tried = [await log_in() for _ in range(2 * most)]
        # Nor are those that succeed, however many come from one office.
        done = [await log_in() for _ in range(most + 1)]

    assert not any(each.is_logged_in for each, _ in tried)
    assert {reply.headers["location"] for _, reply in tried} == {"/login?sign_on=not_ready"}
    assert all(each.is_logged_in for each, _ in done)


async def test_browsers_whose_logins_have_failed_too_often_go_to_the_login_page(
    tmp_path: Path, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        limit = Allowance[str](1, limit="anonymous_logins", message="{most}")
        monkeypatch.setattr(program.services.sign_on, "_failures", limit)
        replies = [await Browser(program).come_back("liar", code="c", state="s") for _ in range(2)]

    assert [reply.status for reply in replies] == [303, 303]
    faults = [reply.headers["location"] for reply in replies]
    assert faults == ["/login?sign_on=expired", "/login?sign_on=too_many_failures"]


async def test_an_admin_who_ends_the_links_of_an_account_ends_its_logins(tmp_path: Path, liar: LyingProvider) -> None:
    liar.reset()
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        browser = Browser(program)
        liar.nonce = (given := await browser.start("liar"))["nonce"]
        await browser.come_back("liar", code="c", state=given["state"])
        id = (await browser.get("/api/v1/accounts/me")).json["id"]

        ended = await call(program.app, "DELETE", f"/api/v1/accounts/{id}/identities", token=token)

        assert ended.status == 200
        assert (await browser.get("/api/v1/accounts/me")).status == 401
    assert rows(tmp_path, "SELECT 1 FROM identities") == []
    assert rows(tmp_path, "SELECT object_id FROM audit WHERE action = 'identities.reset'") == [(id,)]


async def test_a_login_changes_the_roles_in_all_workspaces_of_its_groups(tmp_path: Path, liar: LyingProvider) -> None:
    liar.reset()
    slugs = ["one", "two", "three"]
    groups = [{"group": "eng", "workspace": slug, "role": "editor"} for slug in slugs]
    async with program_with(tmp_path, ("liar", liar.issuer), groups=groups) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        for slug in slugs:
            body = json.dumps({"name": slug, "slug": slug}).encode()
            assert (await call(program.app, "POST", "/api/v1/workspaces", token=token, body=body)).status == 201

        async def roles_with(*names: str, **claims: Any) -> dict[str, str]:
            browser = Browser(program)
            given = await browser.start("liar")
            liar.claims, liar.nonce = {"groups": [*names], **claims}, given["nonce"]
            await browser.come_back("liar", code="c", state=given["state"])
            found = (await browser.get("/api/v1/workspaces")).json["workspaces"]
            return {each["slug"]: each["role"] for each in found if each["slug"] in slugs}

        assert await roles_with("eng") == dict.fromkeys(slugs, "editor")
        # Of groups that are too many for a token, a provider tells only where they can be read.
        assert await roles_with(groups=None, _claim_names={"groups": "src1"}) == dict.fromkeys(slugs, "editor")
        # What is no list of names tells nothing either.
        assert await roles_with(groups={"eng": False}) == dict.fromkeys(slugs, "editor")
        assert await roles_with() == {}


@pytest.mark.parametrize("userinfo", [None, ["eng"]])
async def test_a_null_as_the_groups_is_no_claim(
    tmp_path: Path, liar: LyingProvider, userinfo: list[str] | None
) -> None:
    liar.reset()
    groups = [{"group": "eng", "workspace": "team", "role": "editor"}]
    async with program_with(tmp_path, ("liar", liar.issuer), groups=groups) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        body = json.dumps({"name": "team", "slug": "team"}).encode()
        assert (await call(program.app, "POST", "/api/v1/workspaces", token=token, body=body)).status == 201
        liar.metadata = {"userinfo_endpoint": f"{liar.issuer}/userinfo"}
        has_role = []

        for given in (["eng"], None):
            browser = Browser(program)
            liar.nonce = (await browser.start("liar"))["nonce"]
            liar.sign = partial(with_groups, liar, given)
            liar.userinfo = {"sub": "eve", "groups": userinfo}
            await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])
            found = (await browser.get("/api/v1/workspaces")).json["workspaces"]
            has_role.append(any(each["slug"] == "team" for each in found))
        liar.reset()

    # The userinfo endpoint is asked for what the ID token does not say.
    assert has_role == [True, userinfo is not None]


def with_groups(liar: LyingProvider, groups: list[str] | None, claims: Mapping[str, Any]) -> str:
    return jwt.encode({**claims, "groups": groups}, liar.key, "RS256", headers=liar.header)


async def test_a_login_without_a_group_ends_what_an_earlier_one_reaches(tmp_path: Path, liar: LyingProvider) -> None:
    liar.reset()
    groups = [{"group": "eng", "workspace": "team", "role": "editor"}]
    async with program_with(tmp_path, ("liar", liar.issuer), groups=groups) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        body = json.dumps({"name": "team", "slug": "team"}).encode()
        assert (await call(program.app, "POST", "/api/v1/workspaces", token=token, body=body)).status == 201

        async def log_in(*names: str) -> Browser:
            browser = Browser(program)
            given = await browser.start("liar")
            liar.claims, liar.nonce = {"groups": [*names]}, given["nonce"]
            await browser.come_back("liar", code="c", state=given["state"])
            return browser

        async def flows(browser: Browser) -> int:
            cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            headers = {"host": HOST, "cookie": cookies, "flowrunner-workspace": "team"}
            return (await call(program.app, "GET", "/api/v1/flows", headers=headers)).status

        member = await log_in("eng")
        assert await flows(member) == 200
        members = (await call(program.app, "GET", "/api/v1/workspaces/team/members", token=token)).json["members"]
        assert {one["role"]: one.get("role_from") for one in members} == {"admin": None, "editor": "liar"}
        await log_in()
        assert await flows(member) == 404


OWN: Final = ("/", "/w/team/flows?tag=a&x=%2F", "/login", "/w/x#y")
FOREIGN: Final = (
    "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "http:evil.example",
    "evil.example", "javascript:alert(1)", "/\t/evil.example", "/\n/evil.example", "\t//evil.example",
    " //evil.example", "///evil.example", "/w/\\evil", "/w\r\nset-cookie: a=b", "/\x00", "/ü", "", "?x", "#x",
    "/api/v1/auth/logout", "/hooks/x", "/sign-on/liar", "/" + "x" * 2000,
)  # fmt: skip


async def test_s72_a_login_ends_at_a_path_of_this_server(
    tmp_path: Path, liar: LyingProvider, scoreboard: Scoreboard
) -> None:
    liar.reset()
    open_redirects = [text for text in FOREIGN if own_path(text) != "/"]
    assert [own_path(text) for text in OWN] == list(OWN)
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        for text in (*OWN, *FOREIGN):
            browser = Browser(program)
            reply = await browser.get(f"{START}/liar?{urllib.parse.urlencode({'next': text})}")
            given = parameters_of(reply.headers["location"])
            assert given["redirect_uri"] == f"{URL}{START}/liar/return"
            liar.nonce = given["nonce"]
            reply = await browser.come_back("liar", code="c", state=given["state"])
            if reply.headers["location"] != (text if text in OWN else "/"):
                open_redirects.append(text)
    scoreboard.count("single sign-on: open redirects", cases=len(OWN) + len(FOREIGN), failures=len(open_redirects))
    assert open_redirects == []


async def test_s72_s56_cookies_are_lax_short_and_strict_and_anonymous_starts_store_nothing(
    tmp_path: Path, liar: LyingProvider
) -> None:
    liar.reset()
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        before = rows(tmp_path, "SELECT (SELECT count(*) FROM login_challenges), (SELECT count(*) FROM audit)")
        for _ in range(20):
            browser = Browser(program)
            reply = await browser.get(f"{START}/liar")
            await browser.come_back("liar", code="c", state="x")
        assert rows(tmp_path, "SELECT (SELECT count(*) FROM login_challenges), (SELECT count(*) FROM audit)") == before
        cookie = reply.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Path=/"))
        liar.nonce = (await (browser := Browser(program)).start("liar"))["nonce"]
        started = f"x={browser.cookies['flowrunner_sign_on']}"
        state, late = parameters_of(browser.url)["state"], Browser(program)
        late.cookies = dict(browser.cookies)
        done = await browser.come_back("liar", code="c", state=state)
        session, cleared = sorted(done.headers["set-cookie"].splitlines(), key=lambda line: "sign_on" in line)
        assert "SameSite=strict" in session
        assert "Max-Age=0" in cleared
        assert browser.cookies.keys() == {"flowrunner_session"}
        # The store knows the state too: another process has not seen it come back.
        program.services.sign_on._returned = LruCache(9)
        again = await late.come_back("liar", code="c", state=state)
        assert (late.is_logged_in, again.headers["location"]) == (False, "/login?sign_on=expired")
        value = jwt.decode(cookie_of(started)[1], options={"verify_signature": False})
        assert 595 <= value["exp"] - time.time() <= 600


@pytest.mark.parametrize(
    "text",
    [
        "x", "[op]\nissuer = 7", '[op]\nissuer = "https://x"', '[op]\nissuer = "http://x.example"\nclient_id = "a"',
        '[op]\nissuer = "https://u@x"\nclient_id = "a"', '["a b"]\nissuer = "https://x"\nclient_id = "a"',
        '[op]\nissuer = "https://x"\nclient_id = "a"\nsecret = "hidden"',
        '[op]\nissuer = "https://x"\nclient_id = "a"\nrole = "admin"',
        '[op]\nissuer = "https://x"\nclient_id = "a"\nscopes = ["email"]',
        '[op]\nissuer = "https://x"\nclient_id = "a"\n[[op.groups]]\ngroup = "g"\nworkspace = "w"\nrole = "owner"',
        '[a]\nissuer = "https://x"\nclient_id = "a"\n[b]\nissuer = "https://x"\nclient_id = "b"',
        '[op]\nissuer = "https://x"\nclient_id = "a"\nclient_secret = "hidden',
    ],
)  # fmt: skip
def test_s72_settings_that_cannot_be_meant_are_rejected_without_their_secrets(text: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings({}, {"FLOWRUNNER_SIGN_ON": text, "FLOWRUNNER_PUBLIC_URL": "https://flows.example.com"})

    assert "SIGN_ON" in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("order", [1, -1])
def test_the_highest_role_of_several_groups_counts_wherever_it_stands(order: int) -> None:
    roles = [("ops", "a", "operator"), ("all", "a", "viewer"), ("leads", "a", "admin"), ("leads", "b", "editor")]
    groups = [{"group": group, "workspace": id, "role": role} for group, id, role in roles[::order]]
    (provider,) = providers_of({"main": {"issuer": "https://id.example.test", **CLIENT, "groups": groups}})

    assert provider.roles_of({"all", "ops"}) == {"a": "operator", "b": None}
    assert provider.roles_of({"all", "ops", "leads"}) == {"a": "admin", "b": "editor"}
    assert provider.roles_of(()) == {"a": None, "b": None}


def test_s72_providers_need_the_address_that_browsers_return_to() -> None:
    providers = {"FLOWRUNNER_SIGN_ON": '[op]\nissuer = "https://x"\nclient_id = "a"'}
    with pytest.raises(InvalidSettings, match="PUBLIC_URL"):
        load_settings({}, providers)
    # An address that cannot be read is one fault, and not missing.
    with pytest.raises(InvalidSettings) as raised:
        load_settings({}, {**providers, "FLOWRUNNER_PUBLIC_URL": "flows.example.com"})

    assert "needs" not in str(raised.value)
    assert load_settings({}, {**providers, "FLOWRUNNER_PUBLIC_URL": "https://flows.example.com"}).sign_on


async def test_a_provider_is_asked_again_after_the_clock_was_set_back() -> None:
    provider = providers_of({"main": {"issuer": "https://id.example.test", **CLIENT}})[0]
    clock, down = SteppingClock(), NodeFailure("connection.refused", "The connection was refused")
    found = {
        name: f"https://id.example.test/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    }
    answers: list[HttpAnswer | NodeFailure] = [down, answer(body=json.dumps({"issuer": provider.issuer, **found}))]

    class Peer:
        async def request(self, *_: Any, **__: Any) -> HttpAnswer:
            if isinstance(one := answers.pop(0), NodeFailure):
                raise one
            return one

    client = openid.HttpOpenIdClient(Peer(), clock)  # type: ignore[arg-type] # only its requests
    state = LoginState(provider="main", state="s", nonce="n", verifier="v", next="/")
    with pytest.raises(SignOnFailed):
        await client.authorization_url(provider, state, return_to=URL)

    clock.advance(days=-1)

    assert (await client.authorization_url(provider, state, return_to=URL)).startswith(found["authorization_endpoint"])
    assert not answers


async def test_an_address_is_not_verified_by_what_the_provider_says_about_another(
    tmp_path: Path, liar: LyingProvider
) -> None:
    verified = {"sub": "eve", "email": "eve@example.com", "email_verified": True, "groups": []}
    # The groups or the address are missing in the ID token, so that the userinfo endpoint is asked.
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "the token's address, verified by userinfo": ({"email": "ada@example.com", "email_verified": None}, verified),
        "userinfo's address, verified by the token": ({"email": None}, {"sub": "eve", "email": "ada@example.com"}),
    }
    opened = []
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        for what, (claims, userinfo) in cases.items():
            liar.reset()
            liar.claims, liar.userinfo = {"groups": None, **claims}, userinfo
            liar.metadata = {"userinfo_endpoint": f"{liar.issuer}/userinfo"}
            browser = Browser(program)
            liar.nonce = (await browser.start("liar"))["nonce"]
            reply = await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])
            opened += [what] if reply.headers["location"] != "/login?sign_on=no_email" else []
        liar.reset()

    assert opened == []


async def test_s72_a_repeated_login_changes_no_role_and_confirms_no_address(
    tmp_path: Path, liar: LyingProvider
) -> None:
    liar.reset()
    groups = [{"group": "eng", "workspace": "team", "role": "editor"}]
    database = tmp_path / "data" / "flowrunner.db"
    async with program_with(tmp_path, ("liar", liar.issuer), groups=groups) as program:
        await program.services.accounts.create(name="R", email="root@example.com", password=PASSWORD, role="admin")
        token = (await program.services.sessions.login("root@example.com", PASSWORD, address="192.0.2.9")).token
        body = json.dumps({"name": "team", "slug": "team"}).encode()
        assert (await call(program.app, "POST", "/api/v1/workspaces", token=token, body=body)).status == 201
        first = Browser(program)
        given = await first.start("liar")
        cookies = dict(first.cookies)
        liar.claims, liar.nonce = {"email": "eve@example.com", "groups": []}, given["nonce"]
        await first.come_back("liar", code="c", state=given["state"])
        me = (await first.get("/api/v1/accounts/me")).json["id"]
    change(database, "UPDATE accounts SET email_confirmed_at = NULL WHERE id = ?", me)

    # A server that has just started knows the states that were used from its database alone.
    async with program_with(tmp_path, ("liar", liar.issuer), groups=groups) as program:
        repeated = Browser(program)
        repeated.cookies = cookies
        liar.claims = {"email": "eve@example.com", "groups": ["eng"]}
        await repeated.come_back("liar", code="d", state=given["state"])

    found = rows_of(
        database,
        "SELECT email_confirmed_at IS NULL, (SELECT count(*) FROM members WHERE account_id = id AND role = 'editor') "
        "FROM accounts WHERE id = ?",
        me,
    )
    assert first.is_logged_in
    assert not repeated.is_logged_in
    assert found == [(1, 0)]


async def test_a_login_confirms_no_address_but_the_one_that_the_provider_has_verified(
    tmp_path: Path, liar: LyingProvider
) -> None:
    liar.reset()
    confirmed = []
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:

        async def log_in(email: str | None) -> Browser:
            liar.claims = {"sub": "eve", "email": email}
            liar.nonce = (await (browser := Browser(program)).start("liar"))["nonce"]
            await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])
            assert browser.is_logged_in
            return browser

        me = (await (await log_in("eve@example.com")).get("/api/v1/accounts/me")).json["id"]
        change(tmp_path / "data" / "flowrunner.db", "UPDATE accounts SET email_confirmed_at = NULL WHERE id = ?", me)
        for email in (None, "other@example.com", "EVE@example.com"):
            await log_in(email)
            query = "SELECT email_confirmed_at IS NOT NULL FROM accounts WHERE id = ?"
            confirmed.append(rows_of(tmp_path / "data" / "flowrunner.db", query, me))

    assert confirmed == [[(0,)], [(0,)], [(1,)]]


async def test_a_login_that_cannot_begin_leaves_its_reason_in_the_log(tmp_path: Path, liar: LyingProvider) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        liar.metadata = {"issuer": "https://another.example.com"}
        with capture_logs() as lines:
            reply = await Browser(program, "192.0.2.7").get(f"{START}/liar")
        liar.reset()

    assert reply.headers["location"] == "/login?sign_on=unavailable"
    [line] = [line for line in lines if line["event"] == "sign_on.failed"]
    assert (line["provider"], line["fault"], line["address"]) == ("liar", "unavailable", "192.0.2.7")
    assert line["reason"] == f"The provider says that its issuer is 'https://another.example.com', not '{liar.issuer}'"


async def test_a_provider_in_a_closed_network_is_opened_by_the_setting_that_the_log_names(tmp_path: Path) -> None:
    providers = providers_of({"corp": {"issuer": "http://127.0.0.1:9", **CLIENT}})
    async with program_at(tmp_path / "data", public_url=URL, sign_on=providers) as program:
        with capture_logs() as lines:
            await Browser(program).get(f"{START}/corp")

    [reason] = [line["reason"] for line in lines if line["event"] == "sign_on.failed"]
    assert reason.startswith("Single sign-on may not connect to http://127.0.0.1:9/")
    # The other setting would open the network to flows, and not to the provider.
    assert reason.endswith("closed to single sign-on: an operator can open it with FLOWRUNNER_SIGN_ON_ALLOW")


async def test_an_answer_that_is_no_success_is_named_with_its_address(tmp_path: Path, liar: LyingProvider) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        liar.answers = {"/.well-known/openid-configuration": (404, {}, b"{}")}
        with capture_logs() as lines:
            await Browser(program).get(f"{START}/liar")
        liar.reset()

    [reason] = [line["reason"] for line in lines if line["event"] == "sign_on.failed"]
    assert reason == f"The provider answered GET {liar.issuer}/.well-known/openid-configuration with 404"


@pytest.mark.parametrize(
    ("token", "said"),
    [("x" * 32769, "The ID token has more than 32768 characters"), (None, "The provider has given no ID token")],
)
async def test_an_id_token_that_is_too_long_is_not_called_a_missing_one(
    tmp_path: Path, liar: LyingProvider, token: str | None, said: str
) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        liar.tokens = {"id_token": token}
        browser = Browser(program)
        await browser.start("liar")
        with capture_logs() as lines:
            await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])
        liar.reset()

    assert [line["reason"] for line in lines if line["event"] == "sign_on.failed"] == [said]


async def test_logins_that_wait_for_keys_end_with_the_first_that_cannot_fetch_them(
    tmp_path: Path, liar: LyingProvider
) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        liar.answers = {"/jwks": (500, {}, b"{}")}
        browsers = [Browser(program) for _ in range(10)]
        for browser in browsers:
            await browser.start("liar")
        liar.requests.clear()
        await asyncio.gather(
            *(each.come_back("liar", code="c", state=parameters_of(each.url)["state"]) for each in browsers)
        )
        asked = [path for path, _ in liar.requests]
        liar.reset()

    assert asked.count("/token") == 10
    assert asked.count("/jwks") == 1


async def test_keys_that_were_just_fetched_are_not_fetched_again_for_a_token_of_an_unknown_key(
    tmp_path: Path, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:

        async def fetched_by_logins(count: int) -> int:
            liar.requests.clear()
            for _ in range(count):
                browser = Browser(program)
                await browser.start("liar")
                await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])
                assert not browser.is_logged_in
            return [path for path, _ in liar.requests].count("/jwks")

        liar.header = {"kid": "unknown"}
        monkeypatch.setattr(openid, "_REST", timedelta(minutes=5))
        first = await fetched_by_logins(3)
        monkeypatch.setattr(openid, "_REST", timedelta())
        then = await fetched_by_logins(2)
        liar.reset()

    assert (first, then) == (1, 2)


async def test_s72_s61_no_private_part_is_read_of_a_key_that_a_provider_publishes(
    tmp_path: Path, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The primes behind a private exponent are looked for on the event loop, for the longer the larger the key.
    sought = []
    monkeypatch.setattr("jwt.algorithms.rsa_recover_prime_factors", lambda *numbers: sought.append(numbers))
    exponent = jwt.algorithms.RSAAlgorithm.to_jwk(liar.key, as_dict=True)["d"]
    document = json.dumps({"keys": [{**liar.jwk, "d": exponent}]}).encode()
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        browser = Browser(program)
        liar.nonce = (await browser.start("liar"))["nonce"]
        liar.answers = {"/jwks": (200, {}, document)}
        await browser.come_back("liar", code="c", state=parameters_of(browser.url)["state"])

    assert sought == []
    assert browser.is_logged_in


@pytest.mark.parametrize(
    ("next", "there"),
    [
        ("/w/x/account", "/w/x/account?sign_on=taken"),
        ("/w/x/account?tab=security#links", "/w/x/account?tab=security&sign_on=taken#links"),
        ("/w/x/account", "/w/x/account?sign_on=too_many_links"),
        ("/w/x/account", "/w/x/account?sign_on=too_many_failures"),
    ],
)
async def test_a_failed_link_ends_where_it_was_begun_and_not_at_the_login_page(
    tmp_path: Path, liar: LyingProvider, monkeypatch: pytest.MonkeyPatch, next: str, there: str
) -> None:
    if "too_many_links" in there:
        monkeypatch.setattr("flowrunner.services.sign_on._MOST_IDENTITIES", 1)
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        owner = Browser(program)
        liar.nonce = (await owner.start("liar"))["nonce"]
        await owner.come_back("liar", code="c", state=parameters_of(owner.url)["state"])
        session = f"flowrunner_session={owner.cookies['flowrunner_session']}"
        body = json.dumps({"provider": "liar", "next": next}).encode()
        headers = {"host": HOST, "origin": URL, "cookie": session}
        reply = await call(program.app, "POST", "/api/v1/identities", body=body, headers=headers)
        state, value = cookie_of(reply.headers["set-cookie"])
        owner.cookies[state] = value
        given = parameters_of(reply.json["url"])
        liar.nonce = given["nonce"]
        if "too_many_failures" in there:
            limit = Allowance[str](1, limit="anonymous_logins", message="{most}")
            monkeypatch.setattr(program.services.sign_on, "_failures", limit)
            await Browser(program).come_back("liar", code="c", state="s")

        back = await owner.come_back("liar", code="c", state=given["state"])

    assert back.headers["location"] == there
    assert state not in owner.cookies


@pytest.mark.parametrize("accepts_passwords", [True, False])
async def test_the_last_link_that_logs_in_stays(tmp_path: Path, liar: LyingProvider, accepts_passwords: bool) -> None:
    async with program_with(tmp_path, ("liar", liar.issuer)) as program:
        owner = Browser(program)
        liar.nonce = (await owner.start("liar"))["nonce"]
        await owner.come_back("liar", code="c", state=parameters_of(owner.url)["state"])
    with closing(sqlite3.connect(tmp_path / "data" / "flowrunner.db")) as connection, connection:
        if accepts_passwords:
            # Of a provider that is no longer in the settings.
            connection.execute(
                "INSERT INTO identities (id, account_id, provider, issuer, subject, created_at)"
                " SELECT 'identity-0', account_id, 'gone', 'https://gone.example.com', 'eve', 0 FROM identities"
            )
        else:
            connection.execute("UPDATE accounts SET password_hash = 'a hash'")
    off = {} if accepts_passwords else {"password_login": False}

    async with program_with(tmp_path, ("liar", liar.issuer), settings=off) as program:
        owner = Browser(program)
        liar.nonce = (await owner.start("liar"))["nonce"]
        await owner.come_back("liar", code="c", state=parameters_of(owner.url)["state"])
        found = (await owner.get("/api/v1/identities")).json["identities"]
        used = next(each["id"] for each in found if each["provider"] == "liar")
        headers = {"host": HOST, "origin": URL, "cookie": f"flowrunner_session={owner.cookies['flowrunner_session']}"}
        reply = await call(program.app, "DELETE", f"/api/v1/identities/{used}", headers=headers)
        left = (await owner.get("/api/v1/identities")).json["identities"]

    lacks = "The account has no password" if accepts_passwords else "Logins with passwords are off here"
    assert (reply.status, reply.json["error"]["message"].partition(",")[0]) == (409, lacks)
    assert left == found
