"""Certificates of the tests' own, and a proxy that puts TLS before a server that speaks none."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import hpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS: Final = 1
_PADDED: Final = 0x8
_WITH_PRIORITY: Final = 0x20


class Issuer:
    """Makes certificates, each in a file with its key beside it."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self._certificate(self._name, self._key, host=None))

    def issue(self, name: str, host: str | None = None) -> tuple[Path, Path]:
        """The files of a certificate and of its key."""
        subject, key = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            ec.generate_private_key(ec.SECP256R1()),
        )
        cert_file, key_file = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        cert_file.write_bytes(self._certificate(subject, key, host=host))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert_file, key_file

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, host: str | None) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=subject == self._name, path_length=None), critical=True)
            # Python 3.13 and later require these three.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if subject == self._name:
            usage = x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class TlsProxy(socketserver.ThreadingTCPServer):
    """Attributes: requests: The headers of every HTTP/2 request that went through."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context = context
        self.target = target
        self.requests: list[dict[str, str]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that is not made is what some tests are about."""


class _Connection(socketserver.BaseRequestHandler):
    server: TlsProxy

    def handle(self) -> None:
        with (
            self.server.context.wrap_socket(self.request, server_side=True) as near,
            socket.create_connection(self.server.target) as far,
        ):
            back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
            back.start()
            _Headers(self.server.requests).read(near, far)
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)
            back.join(5)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


class _Headers:
    """Reads the headers of requests out of what goes past."""

    def __init__(self, found: list[dict[str, str]]) -> None:
        self._found = found
        self._decoder = hpack.Decoder()
        self._unread = b""
        self._is_past_preface = False

    def read(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._take(data)
                target.sendall(data)

    def _take(self, data: bytes) -> None:
        self._unread += data
        if not self._is_past_preface:
            if len(self._unread) < len(_PREFACE):
                return
            assert self._unread.startswith(_PREFACE), "it is no HTTP/2"
            self._unread, self._is_past_preface = self._unread[len(_PREFACE) :], True
        while len(self._unread) >= 9:
            length, kind, flags = int.from_bytes(self._unread[:3]), self._unread[3], self._unread[4]
            if len(self._unread) < 9 + length:
                return
            block, self._unread = self._unread[9 : 9 + length], self._unread[9 + length :]
            if kind == _HEADERS:
                if flags & _PADDED:
                    block = block[1 : len(block) - block[0]]
                if flags & _WITH_PRIORITY:
                    block = block[5:]
                self._found.append({str(name): str(value) for name, value in self._decoder.decode(block)})


@contextlib.contextmanager
def tls_proxy(
    target: tuple[str, int], certificate: tuple[Path, Path], *, clients_of: Issuer | None
) -> Iterator[TlsProxy]:
    """A proxy before a server.

    Args:
        clients_of: Who must have issued the certificates of clients; None: anybody may come.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2"])
    if clients_of is not None:
        context.load_verify_locations(clients_of.file)
        context.verify_mode = ssl.CERT_REQUIRED
    with TlsProxy(context, target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
