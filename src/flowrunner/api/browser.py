"""Sessions of browsers: a cookie that no script can read, and the proof that our own pages sent it along.

A browser sends a cookie with whatever request goes to its host, no matter whose page made it. So a request
with a cookie alone is believed only if the browser says that it comes from this very origin. `SameSite` is
not enough: pages on another port of the same host are of the same site.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from flowrunner.domain.errors import Forbidden

_COOKIE: Final = "flowrunner_session"


class Browser:
    """Args: public_url: The origin that browsers see, if it is not the one they name as the host."""

    def __init__(self, public_url: str | None) -> None:
        self._origin = public_url
        self.is_secure = public_url is not None and public_url.startswith("https:")
        # With this prefix browsers take the cookie from nobody but this host, and over TLS alone: not on
        # plain HTTP, which is what the server itself speaks on a loopback address.
        self.cookie = f"__Host-{_COOKIE}" if self.is_secure else _COOKIE

    def token_of(self, connection: HTTPConnection) -> str | None:
        """The token in the cookie."""
        if "cookie" not in connection.headers:
            return None
        return connection.cookies.get(self.cookie)

    def set(self, response: Response, token: str, *, expires_at: datetime) -> None:
        """Have the browser keep the token."""
        response.set_cookie(
            self.cookie, token, expires=expires_at, path="/", secure=self.is_secure, httponly=True, samesite="strict"
        )

    def clear(self, response: Response) -> None:
        """Have the browser forget it."""
        response.set_cookie(
            self.cookie, "", max_age=0, path="/", secure=self.is_secure, httponly=True, samesite="strict"
        )

    def check_is_own(self, headers: Mapping[str, str]) -> None:
        """For what a browser sends unasked. Raises: Forbidden unless it comes from our own pages."""
        if "origin" not in headers and "sec-fetch-site" not in headers:
            raise Forbidden("A request with a cookie must say where it comes from: send 'Origin'")
        self.check_is_not_foreign(headers)

    def check_is_not_foreign(self, headers: Mapping[str, str]) -> None:
        """Raises: Forbidden if the browser says that it comes from elsewhere."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        is_foreign = site is not None and site != "same-origin"
        if origin is not None and not is_foreign:
            host = headers.get("host", "")
            is_foreign = origin not in ((self._origin,) if self._origin else (f"http://{host}", f"https://{host}"))
        if is_foreign:
            raise Forbidden("This request comes from a page of another origin")
