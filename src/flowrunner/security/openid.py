"""The client of OpenID Connect providers: discovery, the exchange of codes, and the check of ID tokens."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import jwt

from flowrunner.domain import strict_json
from flowrunner.domain.errors import quoted
from flowrunner.domain.sign_on import Provider, ProviderAccount, SignOnFailed
from flowrunner.plugin import HttpClient, NodeFailure
from flowrunner.ports.clock import Clock
from flowrunner.ports.sign_on import LoginState

_SECONDS: Final = 10.0
_MOST_BYTES: Final = 256 * 1024
_MOST_TOKEN_CHARACTERS: Final = 32 * 1024
_METADATA_LIFE: Final = timedelta(hours=1)
_KEYS_LIFE: Final = timedelta(minutes=10)
# After a fault, and between two looks for a key that is unknown: so often may anybody make the server ask.
_REST: Final = timedelta(seconds=5)
_SKEW: Final = timedelta(seconds=60)
_OLDEST: Final = timedelta(minutes=10)
# Signatures by a key of the provider alone. By the kind of key that each needs.
_ALGORITHMS: Final[Mapping[str, str]] = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip
# What a signature is checked with. Of a private exponent, the library would look for the primes: 19 s for 16,000 bits.
_PUBLIC: Final = frozenset({"kty", "n", "e", "crv", "x", "y"})
_LEAST_RSA_BITS: Final = 2048
_MOST_KEYS: Final = 100
_MOST_GROUPS: Final = 10_000
_MOST_SUBJECT: Final = 255
_MOST_ISSUER: Final = 500
_REQUIRED: Final = ("iss", "sub", "aud", "exp", "iat", "nonce")


@dataclass
class _Known:
    """The facts known about a provider, and since when."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    metadata: Mapping[str, Any] | None = None
    metadata_at: datetime | None = None
    failed_at: datetime | None = None
    keys: tuple[Mapping[str, Any], ...] = ()
    keys_at: datetime | None = None
    keys_failed_at: datetime | None = None


class HttpOpenIdClient:
    """Implements `ports.OpenIdClient` with a client whose connections are bounded."""

    def __init__(self, http: HttpClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def check(self, provider: Provider) -> None:
        """Raises: SignOnFailed: The provider cannot be asked what it is, or is another than its settings say."""
        await self._metadata(provider)

    async def authorization_url(self, provider: Provider, state: LoginState, *, return_to: str) -> str:
        metadata = await self._metadata(provider)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(state.verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode({
            "response_type": "code", "client_id": provider.client_id, "redirect_uri": return_to,
            "scope": " ".join(provider.scopes), "state": state.state, "nonce": state.nonce,
            "code_challenge": challenge, "code_challenge_method": "S256",
        })  # fmt: skip
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def identify(
        self, provider: Provider, state: LoginState, *, code: str, issuer: str | None, return_to: str
    ) -> ProviderAccount:
        metadata = await self._metadata(provider)
        says_issuer = metadata.get("authorization_response_iss_parameter_supported") is True
        if (issuer is None and says_issuer) or issuer not in (None, provider.issuer):
            raise SignOnFailed("invalid", "The answer is that of another provider: its 'iss' is missing or wrong")
        tokens = await self._exchange(provider, metadata, state, code=code, return_to=return_to)
        claims = _given(await self._claims(provider, metadata, tokens.get("id_token"), nonce=state.nonce))
        if "userinfo_endpoint" in metadata and (provider.groups_claim not in claims or "email" not in claims):
            found = await self._userinfo(provider, metadata, tokens, claims["sub"])
            # An address counts as verified only by the answer that has the address.
            if "email" in claims:
                found = {name: value for name, value in found.items() if name != "email_verified"}
            else:
                claims = {name: value for name, value in claims.items() if name != "email_verified"}
            claims = {**found, **claims}
        return _account(provider, claims)

    async def _exchange(
        self, provider: Provider, metadata: Mapping[str, Any], state: LoginState, *, code: str, return_to: str
    ) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": return_to,
            "code_verifier": state.verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        methods = metadata.get("token_endpoint_auth_methods_supported")
        if provider.client_secret is None:
            form["client_id"] = provider.client_id
        elif not isinstance(methods, list) or not methods or "client_secret_basic" in methods:
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        return await self._ask("POST", str(metadata["token_endpoint"]), headers, urlencode(form).encode())

    async def _userinfo(
        self, provider: Provider, metadata: Mapping[str, Any], tokens: Mapping[str, Any], subject: str
    ) -> Mapping[str, Any]:
        token = tokens.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise SignOnFailed("invalid", "The provider has given no access token")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        found = await self._ask("GET", str(metadata["userinfo_endpoint"]), headers)
        if found.get("sub") != subject:
            raise SignOnFailed("invalid", "The provider's answer about the account is that of another one")
        return {name: value for name, value in _given(found).items() if name in ("email", "email_verified", "name")
                or name == provider.groups_claim}  # fmt: skip

    # ID tokens

    async def _claims(
        self, provider: Provider, metadata: Mapping[str, Any], token: Any, *, nonce: str
    ) -> Mapping[str, Any]:
        if not isinstance(token, str):
            raise SignOnFailed("invalid", "The provider has given no ID token")
        if len(token) > _MOST_TOKEN_CHARACTERS:
            raise SignOnFailed("invalid", f"The ID token has more than {_MOST_TOKEN_CHARACTERS} characters")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = str(header.get("alg")), header.get("kid")
            if algorithm not in _ALGORITHMS or "crit" in header or not (kid is None or isinstance(kid, str)):
                raise SignOnFailed("invalid", "The ID token is not signed as a provider signs")
            key = await self._key(provider, metadata, algorithm, kid)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=provider.issuer,
                audience=provider.client_id,
                leeway=_SKEW,
                options={"require": list(_REQUIRED), "verify_sub": True},
            )
            self._check(provider, claims, nonce=nonce)
            return claims
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            # Besides its own errors, the library raises those of base64 and JSON.
            raise SignOnFailed("invalid", f"The ID token is not valid: {type(error).__name__}") from None

    def _check(self, provider: Provider, claims: Mapping[str, Any], *, nonce: str) -> None:
        """Check what the library does not. Raises: SignOnFailed."""
        given, party = claims["nonce"], claims.get("azp")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode()):
            raise SignOnFailed("invalid", "The ID token is that of another login: its nonce is wrong")
        audience = claims["aud"]
        is_shared = isinstance(audience, list) and len(audience) > 1
        if (party is not None or is_shared) and party != provider.client_id:
            raise SignOnFailed("invalid", "The ID token was issued to another client")
        subject, issued_at = claims["sub"], claims["iat"]
        if not subject or len(subject) > _MOST_SUBJECT or not subject.isprintable():
            raise SignOnFailed("invalid", "The ID token names no account")
        # The library takes the digits of a text, too.
        if not isinstance(issued_at, int | float):
            raise SignOnFailed("invalid", "The ID token does not say when it was issued")
        age = self._clock.now().timestamp() - issued_at
        if not -_SKEW.total_seconds() <= age <= (_OLDEST + _SKEW).total_seconds():
            raise SignOnFailed("invalid", "The ID token was not issued just now")

    async def _key(self, provider: Provider, metadata: Mapping[str, Any], algorithm: str, kid: str | None) -> jwt.PyJWK:
        known, now = self._of(provider), self._clock.now()
        async with known.lock:
            if not _is_within(known.keys_at, now, _KEYS_LIFE):
                await self._load_keys(known, metadata)
            fit = _fitting(known.keys, algorithm, kid)
            # The provider may have replaced its keys.
            if not fit and not _is_within(known.keys_at, now, _REST):
                await self._load_keys(known, metadata)
                fit = _fitting(known.keys, algorithm, kid)
        if len(fit) != 1:
            raise SignOnFailed("invalid", "The ID token is signed with a key that the provider does not name")
        key = jwt.PyJWK({name: value for name, value in fit[0].items() if name in _PUBLIC}, algorithm=algorithm)
        if getattr(key.key, "key_size", _LEAST_RSA_BITS) < _LEAST_RSA_BITS and _ALGORITHMS[algorithm] == "RSA":
            raise SignOnFailed("invalid", f"The provider signs with a key of less than {_LEAST_RSA_BITS} bits")
        return key

    async def _load_keys(self, known: _Known, metadata: Mapping[str, Any]) -> None:
        # The logins that wait for the lock would otherwise wait for one timeout after another.
        if _is_within(known.keys_failed_at, self._clock.now(), _REST):
            raise SignOnFailed("unavailable", "The provider's keys could not be fetched a moment ago")
        try:
            document = await self._ask("GET", str(metadata["jwks_uri"]), {"Accept": "application/json"})
            keys = document.get("keys")
            if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
                raise SignOnFailed("unavailable", "The provider's keys cannot be read")
        except SignOnFailed:
            known.keys_failed_at = self._clock.now()
            raise
        known.keys, known.keys_at = tuple(key for key in keys if isinstance(key, dict)), self._clock.now()

    # Discovery

    def _of(self, provider: Provider) -> _Known:
        return self._known.setdefault(provider.id, _Known())

    async def _metadata(self, provider: Provider) -> Mapping[str, Any]:
        known = self._of(provider)
        async with known.lock:
            now = self._clock.now()
            if known.metadata is not None and _is_within(known.metadata_at, now, _METADATA_LIFE):
                return known.metadata
            if _is_within(known.failed_at, now, _REST):
                raise SignOnFailed("unavailable", "The provider could not be asked a moment ago")
            try:
                known.metadata, known.metadata_at = await self._discover(provider), now
            except SignOnFailed:
                known.failed_at = self._clock.now()
                raise
            return known.metadata

    async def _discover(self, provider: Provider) -> Mapping[str, Any]:
        url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = await self._ask("GET", url, {"Accept": "application/json"})
        if metadata.get("issuer") != provider.issuer:
            said = quoted(str(metadata.get("issuer")), most=_MOST_ISSUER)
            raise SignOnFailed("unavailable", f"The provider says that its issuer is {said}, not '{provider.issuer}'")
        optional = ["userinfo_endpoint"] if "userinfo_endpoint" in metadata else []
        schemes = ("https", "http") if provider.issuer.startswith("http:") else ("https",)
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", *optional):
            address = metadata.get(name)
            if not isinstance(address, str) or not _is_address(address, schemes):
                raise SignOnFailed("unavailable", f"The provider's {name} is not an address")
        return metadata

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Mapping[str, Any]:
        """Return the JSON object that a provider answers with. A redirect is no answer. Raises: SignOnFailed."""
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self._http.request(method, url, headers=headers, body=body, max_redirects=0)
        except NodeFailure as error:
            raise SignOnFailed("unavailable", str(error)) from None
        except TimeoutError:
            raise SignOnFailed("unavailable", f"The provider did not answer within {_SECONDS:.0f} s") from None
        is_refusal = 400 <= answer.status < 500 and method == "POST"
        if answer.status != 200:
            fault = "refused" if is_refusal else "unavailable"
            raise SignOnFailed(fault, f"The provider answered {method} {url} with {answer.status}")  # type: ignore[arg-type]
        if len(answer.body) > _MOST_BYTES:
            raise SignOnFailed("unavailable", f"The provider's answer has more than {_MOST_BYTES} bytes")
        try:
            value = strict_json.loads(answer.body)
        except strict_json.InvalidJson as error:
            raise SignOnFailed("unavailable", f"The provider's answer cannot be read: {error}") from None
        if not isinstance(value, dict):
            raise SignOnFailed("unavailable", "The provider's answer is not a JSON object")
        return value


def _is_within(since: datetime | None, now: datetime, span: timedelta) -> bool:
    # The absolute value: the clock may have been set back.
    return since is not None and abs(now - since) < span


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and text.isascii() and text.isprintable()


def _fitting(keys: tuple[Mapping[str, Any], ...], algorithm: str, kid: str | None) -> list[Mapping[str, Any]]:
    """Return the keys that a token may be signed with."""
    return [
        key
        for key in keys
        if key.get("kty") == _ALGORITHMS[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]


def _given(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the claims without those that are null: a provider should leave them out, and some do not."""
    return {name: value for name, value in claims.items() if value is not None}


def _account(provider: Provider, claims: Mapping[str, Any]) -> ProviderAccount:
    email, name, groups = claims.get("email"), claims.get("name"), claims.get(provider.groups_claim, [])
    is_verified = claims.get("email_verified") in (True, "true")
    if isinstance(groups, str):
        groups = [groups]
    if not isinstance(groups, list) or len(groups) > _MOST_GROUPS:
        groups = None
    # Some providers leave the groups out if there are too many, and name where to ask for them.
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, dict) and provider.groups_claim in elsewhere:
        groups = None
    return ProviderAccount(
        issuer=provider.issuer,
        subject=claims["sub"],
        email=email if isinstance(email, str) and is_verified else None,
        name=name if isinstance(name, str) else None,
        groups=None if groups is None else frozenset(group for group in groups if isinstance(group, str)),
    )
