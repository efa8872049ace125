"""Browser sessions: an HttpOnly cookie, and the check that a request comes from our own pages.

A browser sends the cookie with every request to its host, whichever page made the request. A request
authenticated by the cookie alone is therefore accepted only if the browser reports our own origin. `SameSite`
is not enough: pages on another port of the same host belong to the same site.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from flowrunner.domain.errors import ForeignOrigin, MissingOrigin

_COOKIE: Final = "flowrunner_session"
_STATE_COOKIE: Final = "flowrunner_sign_on"


class Browser:
    """The session cookie and the origin checks.

    Args:
        public_url: The origin that browsers see, if it differs from the `Host` header.
    """

    def __init__(self, public_url: str | None) -> None:
        self._origin = public_url
        self.is_secure = public_url is not None and public_url.startswith("https:")
        # With this prefix, browsers accept the cookie from this host only, and only over TLS. It would not work
        # over plain HTTP, which the server itself speaks on a loopback address.
        prefix = "__Host-" if self.is_secure else ""
        self.cookie = f"{prefix}{_COOKIE}"
        # What a browser keeps while it is at a provider of single sign-on. It returns from another site, which only a
        # cookie that is not strict survives.
        self._state_cookie = f"{prefix}{_STATE_COOKIE}"

    def token_of(self, connection: HTTPConnection) -> str | None:
        """Return the token in the cookie, or None."""
        if "cookie" not in connection.headers:
            return None
        return connection.cookies.get(self.cookie)

    def set(self, response: Response, token: str, *, expires_at: datetime, headers: Mapping[str, str]) -> None:
        """Set the session cookie. ``headers`` are those of the request."""
        # A proxy with TLS may be in front although `public_url` is not set; the page then has an https origin.
        is_secure = self.is_secure or headers.get("origin", "").startswith("https:")
        response.set_cookie(
            self.cookie, token, expires=expires_at, path="/", secure=is_secure, httponly=True, samesite="strict"
        )

    def clear(self, response: Response) -> None:
        """Delete the session cookie."""
        response.set_cookie(
            self.cookie, "", max_age=0, path="/", secure=self.is_secure, httponly=True, samesite="strict"
        )

    def set_state(self, response: Response, state: str, *, expires_at: datetime) -> None:
        response.set_cookie(
            self._state_cookie,
            state,
            expires=expires_at,
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )

    def state_of(self, connection: HTTPConnection) -> str | None:
        """Return the state of a login by a provider, or None."""
        return connection.cookies.get(self._state_cookie)

    def clear_state(self, response: Response) -> None:
        response.set_cookie(
            self._state_cookie, "", max_age=0, path="/", secure=self.is_secure, httponly=True, samesite="lax"
        )

    def check_is_own(self, headers: Mapping[str, str]) -> None:
        """Check that a request that relies on the cookie comes from our own pages.

        Raises: ForeignOrigin, MissingOrigin.
        """
        if "origin" not in headers and "sec-fetch-site" not in headers:
            raise MissingOrigin("A request with a cookie must state its origin: send the 'Origin' header")
        self.check_is_not_foreign(headers)

    def check_is_own_form(self, headers: Mapping[str, str]) -> None:
        """Check a form that was sent without a cookie. Raises: ForeignOrigin if it is of a page of another origin."""
        # A page that gives no referrer sends its form with this origin; newer browsers tell its site besides.
        given = {name: headers[name] for name in ("origin", "host", "sec-fetch-site") if name in headers}
        if given.get("origin") == "null":
            del given["origin"]
        self.check_is_not_foreign(given)

    def check_is_not_foreign(self, headers: Mapping[str, str]) -> None:
        """Raise ForeignOrigin if the browser reports another origin."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        is_foreign = site is not None and site != "same-origin"
        if origin is not None and not is_foreign:
            host = headers.get("host", "")
            is_foreign = origin not in ((self._origin,) if self._origin else (f"http://{host}", f"https://{host}"))
        if is_foreign:
            raise ForeignOrigin("This request comes from a page of another origin")
