"""Signed links that answer approvals."""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from flowrunner.domain.link_tokens import LINK_TOKEN_PREFIX
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.security.keys import KeyRing

APPROVAL_PATH: Final = "/approve/"
_TOKEN: Final = re.compile(
    re.escape(LINK_TOKEN_PREFIX) + r"((exec-[0-9a-z]{36})\.([1-9][0-9]{0,8})(?:\.([1-9][0-9]{0,14}))?)\.([\w-]{43})",
    re.A,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_PURPOSE: Final = b"flowrunner approval link"


class LinkSigner:
    """The signer of links by a key that is good for nothing else. Implements `ports.ApprovalLinkSigner`.

    Attributes:
        key: The key, from `SignedApprovalLinks.key`.
    """

    def __init__(self, key: bytes, *, public_url: str | None) -> None:
        self.key = key
        self._public_url = public_url

    def url(self, place: ApprovalPlace) -> str | None:
        return _url(self._public_url, self.key, place)


class SignedApprovalLinks:
    """Implements `ports.ApprovalLinks`.

    Nothing is stored of a link: its token is the place of the wait with a signature of 256 bits, which any process of
    the installation makes again when the node that sends it runs again.

    Args:
        keys: The keys of the installation for signatures. A link is valid as long as one of them has signed it.
        public_url: The origin that browsers use.
    """

    def __init__(self, keys: KeyRing, *, public_url: str | None) -> None:
        self._keys = keys
        self._public_url = public_url

    def url(self, place: ApprovalPlace) -> str | None:
        return _url(self._public_url, self.key, place)

    @property
    def key(self) -> bytes:
        """The key that signs links now."""
        return _key_of(self._keys.present)

    def read(self, token: str) -> ApprovalPlace | None:
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        signed, id, seq, since, signature = found.groups()
        keys = [key for key_id in self._keys.ids if (key := self._keys.find(key_id)) is not None]
        # All are compared, so that the time tells nothing.
        are_equal = [hmac.compare_digest(_signature(_key_of(key), signed), signature) for key in keys]
        if not any(are_equal):
            return None
        return ApprovalPlace(ExecutionId(id), int(seq), None if since is None else _EPOCH + int(since) * _MILLISECOND)


def _key_of(key: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE, hashlib.sha256)


def _url(public_url: str | None, key: bytes, place: ApprovalPlace) -> str | None:
    if public_url is None:
        return None
    since = "" if place.since is None else f".{(place.since - _EPOCH) // _MILLISECOND}"
    signed = f"{place.execution_id}.{place.seq}{since}"
    return f"{public_url}{APPROVAL_PATH}{LINK_TOKEN_PREFIX}{signed}.{_signature(key, signed)}"


def _signature(key: bytes, signed: str) -> str:
    digest = hmac.digest(key, signed.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
