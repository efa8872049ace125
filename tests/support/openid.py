"""Providers of OpenID Connect on loopback: a real one, and one that answers whatever a test wants."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from support.http_servers import QuietHandler
from support.networks import unused_port
from support.node import installed

DIRECTORY: Final = Path(__file__).parents[1] / "openid_provider"
CLIENT: Final = {"client_id": "flowrunner", "client_secret": "a secret of the client"}
ACCOUNTS: Final = {
    "ada": {"claims": {"email": "ada@example.com", "email_verified": True, "name": "Ada", "groups": ["eng"]}},
    "bob": {"claims": {"email": "bob@example.com", "email_verified": True, "name": "Bob", "groups": []}},
}


class RealProvider:
    """`oidc-provider` as a process of its own.

    Args:
        return_to: Where the client's browsers return to.
    """

    def __init__(self, return_to: str, *, code_seconds: int = 60) -> None:
        self.port = unused_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        other = {"client_id": "other", "client_secret": "another secret"}
        clients = [{**client, "redirect_uris": [return_to]} for client in (CLIENT, other)]
        self._settings = {"port": self.port, "clients": clients, "accounts": ACCOUNTS, "codeSeconds": code_seconds}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        installed(DIRECTORY)
        node = str(Path(sys.executable).parent / "node")
        self._process = subprocess.Popen(
            [node, "provider.mjs", json.dumps(self._settings)],
            cwd=DIRECTORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"
        return self

    def stop(self) -> None:
        if self._process is not None:
            # The program starts another one, which is the server.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def change(self, **changed: Any) -> None:
        """Replace accounts, or the keys."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/control", json.dumps(changed))
        assert connection.getresponse().status == 204
        connection.close()

    def log_in(self, url: str, login: str) -> str:
        """Log in as a browser does that was sent to this address; return where it is sent in the end."""
        cookies: dict[str, str] = {}
        method, body = "GET", None
        for _ in range(10):
            parts = urllib.parse.urlsplit(urllib.parse.urljoin(self.issuer, url))
            if parts.port != self.port:
                return url
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            if body is not None:
                sent["Content-Type"] = "application/x-www-form-urlencoded"
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            connection.request(method, f"{parts.path}?{parts.query}", body, sent)
            response = connection.getresponse()
            response.read()
            for header in response.headers.get_all("set-cookie") or ():
                cookies |= {name: morsel.value for name, morsel in SimpleCookie(header).items()}
            connection.close()
            if response.status == 200:
                method, body = "POST", urllib.parse.urlencode({"login": login})
                continue
            location = response.headers["location"]
            assert location is not None, response.status
            method, body, url = "GET", None, location
        raise AssertionError("the provider sends the browser in circles")


class LyingProvider:
    """A provider that answers whatever a test wants.

    Attributes:
        claims: Changes of the claims of the next ID token; None removes one.
        sign: Makes the ID token of its claims.
        answers: By path: a whole answer (status, headers, body) in place of the usual one.
        requests: The paths that were asked for, with the forms that came.
    """

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {"kid": "k1"}
        self.sign: Any = None
        self.metadata: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.answers: dict[str, tuple[int, Mapping[str, str], Any]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.nonce = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        self.claims, self.header, self.sign = {}, {"kid": "k1"}, None
        self.metadata, self.tokens, self.userinfo, self.answers = {}, {}, {}, {}

    @property
    def jwk(self) -> dict[str, Any]:
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {**jwk, "kid": "k1", "use": "sig", "alg": "RS256"}

    def id_token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "eve", "aud": "flowrunner", "iat": now, "exp": now + 300, "nonce": self.nonce,
            "email": "eve@example.com", "email_verified": True, "name": "Eve", "groups": [], **self.claims,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.sign is not None:
            return str(self.sign(claims))
        return jwt.encode(claims, self.key, "RS256", headers=self.header)

    def answer(self, path: str) -> Any:
        if path.startswith("/.well-known/"):
            return {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/jwks", **self.metadata,
            }  # fmt: skip
        if path == "/jwks":
            return {"keys": [self.jwk]}
        if path == "/userinfo":
            return self.userinfo
        return {"token_type": "Bearer", "access_token": "at", "id_token": self.id_token(), **self.tokens}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
                path = self.path.partition("?")[0]
                provider.requests.append((path, form))
                status, headers, body = provider.answers.get(path, (200, {}, None))
                if callable(body):
                    body(self)
                    return
                data = body if isinstance(body, bytes) else json.dumps(provider.answer(path)).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler


def parameters_of(url: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def unsigned(claims: Mapping[str, Any], header: Mapping[str, Any], signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return f"{'.'.join(parts)}.{signature}"


def cookie_of(header: str) -> tuple[str, str]:
    """Return name and value of a `Set-Cookie` header."""
    found = re.match(r"([^=]+)=([^;]*)", header)
    assert found is not None
    return found[1], found[2]
