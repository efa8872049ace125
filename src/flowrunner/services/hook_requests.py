"""Requests of other servers as values that flows read, and the answers to their URL verifications."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from flowrunner.domain import strict_json
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import JSON
from flowrunner.domain.verification import Scheme, Unverified, proof_headers

# Fields of a form or a query: parsing takes time for each.
_MOST_FIELDS: Final = 1000
_FORM: Final = "application/x-www-form-urlencoded"
_LONGEST_CHALLENGE: Final = 1024
_LONGEST_VERIFICATION: Final = 4096
# Never stored, and hidden from flows: credentials of the sender or of a proxy before this server.
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRequest:
    """A request to a webhook trigger.

    Attributes:
        headers: By name in lower case; repeated ones joined by commas.
        query: The text after `?`.
    """

    method: str
    headers: Mapping[str, str]
    query: str
    body: bytes

    def without_proof(self, scheme: Scheme) -> "HookRequest":
        """Return the request without headers that prove an identity."""
        hidden = _CREDENTIALS | proof_headers(scheme)
        kept = {name: value for name, value in self.headers.items() if name not in hidden}
        return HookRequest(method=self.method, headers=kept, query=self.query, body=self.body)


def trigger_values(request: HookRequest) -> Mapping[str, JSON]:
    """Return `trigger.body`, `trigger.headers` and `trigger.query`. Raises: InvalidInput."""
    return {
        "body": body_value(
            request.headers.get("content-type", ""),
            request.body,
            is_compressed=request.headers.get("content-encoding", "identity").lower() != "identity",
        ),
        "headers": dict(request.headers),
        "query": _fields(request.query, "query"),
    }


def body_value(content_type: str, body: bytes, *, is_compressed: bool = False) -> JSON:
    """Return a body as a value: JSON, the fields of a form, text, or else base64. Empty ones are None.

    Raises: InvalidInput if it is not what its type says.
    """
    if not body:
        return None
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if is_compressed and (is_json or media_type == _FORM):
        hint = "have the sender send it without 'Content-Encoding'"
        raise invalid("body", "is compressed, and is not read", hint=hint)
    if is_json:
        try:
            return strict_json.loads(body)
        except strict_json.InvalidJson as error:
            raise invalid("body", str(error)) from None
    if media_type == _FORM:
        return _fields(body.decode("utf-8", "replace"), "body")
    if media_type.startswith("text/") or media_type in ("application/xml", "application/yaml"):
        text = _text(body, parameters)
        if text is not None:
            return text
    return base64.b64encode(body).decode()


def _text(body: bytes, parameters: str) -> str | None:
    """Return a text without NUL characters, which cannot be stored; None if it is no such text."""
    charset = next(
        (value.strip(' "') for name, _, value in (p.partition("=") for p in parameters.split(";"))
         if name.strip() == "charset"),
        "utf-8",
    )  # fmt: skip
    try:
        text = body.decode("latin-1" if charset in ("iso-8859-1", "latin1", "us-ascii") else "utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _fields(text: str, place: str) -> Mapping[str, JSON]:
    """Return the fields of a form; one that is given several times is a list. Raises: InvalidInput."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise invalid(place, f"has more than {_MOST_FIELDS} fields") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        # NUL cannot be stored.
        fields.setdefault(name.replace("\x00", "\ufffd"), []).append(value.replace("\x00", "\ufffd"))
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def challenge_of(request: HookRequest, scheme: Scheme, secrets: Sequence[str], *, is_verified: bool) -> str | None:
    """Return the text with which a server wants to be answered before it sends anything; None if it asks for none.

    Known are Slack's `url_verification` with a signature, `hub.challenge` of Meta and WebSub with a secret of the
    trigger as `hub.verify_token`, and the `validationToken` of Microsoft Graph where nothing is verified anyway.
    """
    query = _short_query(request.query)
    if (challenge := query.get("hub.challenge")) is not None and query.get("hub.mode") == "subscribe":
        sent = query.get("hub.verify_token", "").encode()
        if any(hmac.compare_digest(secret.encode(), sent) for secret in secrets):
            return challenge[:_LONGEST_CHALLENGE]
    if isinstance(scheme, Unverified) and (token := query.get("validationToken")) is not None:
        return token[:_LONGEST_CHALLENGE]
    return _slack_challenge(request.body) if is_verified else None


def _short_query(query: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=_MOST_FIELDS)) if len(query) <= _LONGEST_VERIFICATION else {}
    except ValueError:
        return {}


def _slack_challenge(data: bytes) -> str | None:
    if len(data) > _LONGEST_VERIFICATION or b"url_verification" not in data:
        return None
    try:
        body = strict_json.loads(data)
    except strict_json.InvalidJson:
        return None
    if not isinstance(body, Mapping) or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    return challenge[:_LONGEST_CHALLENGE] if isinstance(challenge, str) else None
