"""Attacks on passkeys, with an authenticator made of software that signs whatever a test wants."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256, CoseKey
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from flowrunner.domain.values import AccountId
from flowrunner.security.passkeys import Fido2Passkeys
from security.test_second_factor import FACTORS, LOGIN, Attack
from support.asgi import program_at
from support.client import PASSWORD, Reply
from support.scoreboard import Scoreboard

ORIGIN: Final = "https://flows.example.test"
RP: Final = "flows.example.test"
PRESENT: Final = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def data_of(written: str) -> bytes:
    return base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))


class Authenticator:
    """One passkey.

    Args:
        does_count: It counts its signatures. One that several devices have cannot, and its count is always 0.
    """

    def __init__(self, name: bytes = b"a passkey", *, does_count: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = hashlib.sha256(name).digest()
        self.count = 0
        self.does_count = does_count

    def _client_data(self, kind: str, challenge: str, changes: Mapping[str, Any]) -> bytes:
        return json.dumps({
            "type": kind, "challenge": challenge, "origin": ORIGIN, "crossOrigin": False, **changes,
        }).encode()  # fmt: skip

    def create(
        self,
        challenge: str,
        *,
        rp: str = RP,
        flags: int = PRESENT,
        kind: str = "webauthn.create",
        public: Mapping[int, Any] | None = None,
        id: bytes | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        own = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        key = own if public is None else CoseKey(public)
        credential = AttestedCredentialData.create(Aaguid.NONE, self.id if id is None else id, key)
        data = AuthenticatorData.create(
            hashlib.sha256(rp.encode()).digest(), flags | AuthenticatorData.FLAG.AT, self.count, credential
        )
        attested = AttestationObject.create("none", data, {})
        client_data = CollectedClientData(self._client_data(kind, challenge, changes))
        answer = {"clientDataJSON": text(client_data), "attestationObject": text(attested)}
        return self._credential(answer)

    def sign(
        self, challenge: str, *, rp: str = RP, flags: int = PRESENT, kind: str = "webauthn.get", **changes: Any
    ) -> dict[str, Any]:
        self.count += self.does_count
        data = AuthenticatorData.create(hashlib.sha256(rp.encode()).digest(), AuthenticatorData.FLAG(flags), self.count)
        client_data = self._client_data(kind, challenge, changes)
        signature = self.key.sign(bytes(data) + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._credential({
            "clientDataJSON": text(client_data), "authenticatorData": text(bytes(data)), "signature": text(signature),
        })  # fmt: skip

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        id = text(self.id)
        return {"id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {}}


async def add(attack: Attack, token: str, passkey: Authenticator, **changes: Any) -> Reply:
    started = await attack.send("POST", f"{FACTORS}/passkeys/options", None, token)
    made = passkey.create(started.json["options"]["challenge"], **changes)
    body = {"challenge": started.json["challenge"], "name": "P", "passkey": made}
    return await attack.send("POST", f"{FACTORS}/passkeys", body, token)


async def step(attack: Attack, name: str) -> tuple[str, str]:
    """Log in with the password; return the challenge, and what the passkey signs for it."""
    body = {"username": f"{name}@example.com", "password": "five-blue-otters-swim"}
    needed = (await attack.send("POST", "/api/v1/auth/login", body)).error["details"]["second_factor"]
    assert needed["passkey"]["rpId"] == RP
    return needed["challenge"], needed["passkey"]["challenge"]


WRONG_ENROLMENTS: Final[dict[str, dict[str, Any]]] = {
    "another origin": {"origin": "https://evil.example"}, "a port": {"origin": f"{ORIGIN}:8443"},
    "a subdomain": {"origin": f"https://a.{RP}"}, "no TLS": {"origin": f"http://{RP}"},
    "another party": {"rp": "evil.example"}, "an absent person": {"flags": 0},
    "an answer to a login": {"kind": "webauthn.get"}, "another challenge": {"challenge_": "x"},
    "a frame of another origin": {"crossOrigin": True}, "no id": {"id": b""}, "a long id": {"id": b"x" * 1024},
    "an algorithm that was not offered": {"public": {1: 9, 3: -999}},
    "a key of megabits": {"public": {1: 3, 3: -257, -1: b"\xff" * 200_000, -2: b"\1\0\1"}},
}  # fmt: skip
WRONG_SIGNATURES: Final[dict[str, dict[str, Any]]] = {
    "another origin": {"origin": "https://evil.example"}, "a subdomain": {"origin": f"https://a.{RP}"},
    "no TLS": {"origin": f"http://{RP}"}, "a frame of another origin": {"crossOrigin": True},
    "another party": {"rp": "evil.example"}, "an absent person": {"flags": 0},
    "an answer to an enrolment": {"kind": "webauthn.create"}, "no origin": {"origin": None},
}  # fmt: skip


async def test_s03_s07_s08_passkeys_sign_one_login_of_one_account_at_one_origin(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    async with program_at(tmp_path / "data", public_url=ORIGIN) as program:
        attack = Attack(program, tmp_path / "data" / "flowrunner.db")
        mara, omar = Authenticator(), Authenticator(b"another")
        mara_token, omar_token = await attack.new_account("mara"), await attack.new_account("omar")

        # What is not made for this account, this challenge and this origin is not added.
        started = (await attack.send("POST", f"{FACTORS}/passkeys/options", None, omar_token)).json
        made = mara.create(started["options"]["challenge"])
        stolen = {"challenge": started["challenge"], "name": "P", "passkey": made}
        attack.check(
            "another account's challenge", await attack.send("POST", f"{FACTORS}/passkeys", stolen, mara_token)
        )
        for what, changes in WRONG_ENROLMENTS.items():
            if "challenge_" in changes:
                started = (await attack.send("POST", f"{FACTORS}/passkeys/options", None, mara_token)).json
                body = {"challenge": started["challenge"], "passkey": mara.create(text(b"x" * 32))}
                reply = await attack.send("POST", f"{FACTORS}/passkeys", body, mara_token)
            else:
                reply = await add(attack, mara_token, mara, **changes)
            attack.check(f"added with {what}", reply)
        for body in ({}, {"id": 7}, {"response": []}, {"id": "x" * 5000, "rawId": "x", "response": {}}):
            started = (await attack.send("POST", f"{FACTORS}/passkeys/options", None, mara_token)).json
            whole = {"challenge": started["challenge"], "passkey": body}
            attack.check(f"added of {body}", await attack.send("POST", f"{FACTORS}/passkeys", whole, mara_token))
        for token, passkey in ((mara_token, mara), (omar_token, omar)):
            added = await add(attack, token, passkey)
            assert (added.status, len(added.json["recovery_codes"])) == (201, 10)
        attack.check("the passkey of another", await add(attack, omar_token, mara))

        async def log_in(what: str, passkey: Authenticator = mara, **changes: Any) -> None:
            challenge, signed = await step(attack, "mara")
            attack.check(what, await attack.answer(challenge, passkey=passkey.sign(signed, **changes)))

        await log_in("another account's passkey", omar)
        await log_in("a passkey that nobody has", Authenticator(b"unknown"))
        for what, changes in WRONG_SIGNATURES.items():
            await log_in(f"signed with {what}", **changes)
        challenge, signed = await step(attack, "mara")
        other_challenge, other_signed = await step(attack, "mara")
        attack.check("another challenge", await attack.answer(challenge, passkey=mara.sign(other_signed)))
        attack.check("the challenge itself", await attack.answer(challenge, passkey=mara.sign(challenge)))
        forged = mara.sign(signed)
        forged["response"]["signature"] = text(data_of(forged["response"]["signature"])[:-1] + b"\0")
        attack.check("a changed signature", await attack.answer(challenge, passkey=forged))
        renamed = {**omar.sign(signed), "id": text(mara.id)}
        attack.check("a passkey under the id of another", await attack.answer(challenge, passkey=renamed))

        right = mara.sign(other_signed)
        assert (await attack.answer(other_challenge, passkey=right)).status == 200
        attack.check("the same answer again", await attack.answer(other_challenge, passkey=right))
        again, _ = await step(attack, "mara")
        attack.check("the same answer to another challenge", await attack.answer(again, passkey=right))
        mara.count -= 1
        await log_in("a copy whose count stays behind")
        mara.count += 5
        challenge, signed = await step(attack, "mara")
        assert (await attack.answer(challenge, passkey=mara.sign(signed))).status == 200
    scoreboard.count("passkeys: attacks that succeeded", cases=attack.tried, failures=len(attack.taken))
    assert attack.taken == []
    assert attack.tried >= 30


async def test_s03_a_passkey_that_does_not_count_logs_in_again_until_it_has_counted(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data", public_url=ORIGIN) as program:
        attack, passkey = Attack(program, tmp_path / "data" / "flowrunner.db"), Authenticator(does_count=False)
        assert (await add(attack, await attack.new_account("mara"), passkey)).status == 201

        async def log_in() -> int:
            challenge, signed = await step(attack, "mara")
            return (await attack.answer(challenge, passkey=passkey.sign(signed))).status

        without = [await log_in() for _ in range(3)]
        passkey.count = 7
        counted = await log_in()
        passkey.count = 0
        afterwards = await log_in()

    assert (without, counted, afterwards) == ([200] * 3, 200, 401)


async def test_a_second_passkey_keeps_the_recovery_codes_and_an_app_counts_once_it_is_confirmed(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data", public_url=ORIGIN) as program:
        attack = Attack(program, tmp_path / "data" / "flowrunner.db")
        token = await attack.new_account("mara")
        added = [await add(attack, token, Authenticator(name)) for name in (b"first", b"second")]
        assert (await attack.send("POST", f"{FACTORS}/totp", {}, token)).status == 201
        body = {"username": "mara@example.com", "password": PASSWORD}
        needed = (await attack.send("POST", LOGIN, body)).error["details"]["second_factor"]
        first = await attack.answer(needed["challenge"], recovery_code=added[0].json["recovery_codes"][0])

    assert [(reply.status, len(reply.json["recovery_codes"])) for reply in added] == [(201, 10), (201, 0)]
    assert needed["methods"] == ["passkey", "recovery_code"]
    assert first.status == 200


async def test_s03_passkeys_need_an_address_that_they_belong_to(tmp_path: Path) -> None:
    for number, address in enumerate((None, "https://192.0.2.1", "https://[2001:db8::1]", "http://flows.example.test")):
        async with program_at(tmp_path / str(number), public_url=address) as program:
            attack = Attack(program, tmp_path / str(number) / "flowrunner.db")
            token = await attack.new_account("mara")

            assert (await attack.send("POST", f"{FACTORS}/passkeys/options", None, token)).status == 409
            assert (await attack.send("GET", FACTORS, None, token)).json["passkeys"] is False


def test_a_browser_is_told_of_the_passkeys_that_an_account_has() -> None:
    passkeys, known = Fido2Passkeys(ORIGIN), [text(b"one passkey"), text(b"another one")]

    made = passkeys.creation(bytes(32), AccountId("account-1"), name="ada@example.com", known=known)
    asked = passkeys.request(bytes(32), known=known)

    assert [one["id"] for one in made["excludeCredentials"]] == known
    assert [one["id"] for one in asked["allowCredentials"]] == known
