"""Answers that are made to exhaust whoever reads them, and a server that gives them."""

import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Final

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ZEROS: Final = bytes(1024 * 1024)
TEN_GB: Final = 10 * 1024


def _compressed(window_bits: int, megabytes: int = TEN_GB) -> Iterator[bytes]:
    """So many megabytes of zeros; the check sum is missing at the end, which nobody should come to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
    yield packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing refers to what was before: the same block may follow again and again.
    block = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(megabytes - 1):
        yield block


def _encoded(encoding: str, window_bits: int) -> Iterator[bytes]:
    yield HEAD + f"Content-Encoding: {encoding}\r\n\r\n".encode()
    yield from _compressed(window_bits)


def _gzip_at_once() -> Iterator[bytes]:
    """A gigabyte that arrives as one piece of a megabyte."""
    packed = b"".join(_compressed(31, 1024))
    yield HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed


def _gzip_members() -> Iterator[bytes]:
    """Many files of gzip after one another, each of its own limit."""
    member = gzip.compress(ZEROS)
    yield HEAD + b"Content-Encoding: gzip\r\n\r\n"
    for _ in range(10_000):
        yield member


def _gzip_twice() -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield HEAD + b"Content-Encoding: gzip, gzip\r\n\r\n"
    for part in _compressed(31):
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)


def _gzip_in_chunks() -> Iterator[bytes]:
    yield HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    for part in _compressed(31):
        if part:
            yield f"{len(part):x}\r\n".encode() + part + b"\r\n"


def _gzip_of_nothing() -> Iterator[bytes]:
    """Empty blocks for ever: no byte of content is ever decoded."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield HEAD + b"Content-Encoding: gzip\r\n\r\n" + packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    while True:
        yield b"\x00\x00\x00\xff\xff" * 10_000


def _chunks() -> Iterator[bytes]:
    yield CHUNKED
    while True:
        yield b"10000\r\n" + ZEROS[:65536] + b"\r\n"


def _chunks_of_one() -> Iterator[bytes]:
    yield CHUNKED
    while True:
        yield b"1\r\nx\r\n" * 1000


def _chunk_that_is_huge() -> Iterator[bytes]:
    yield CHUNKED + b"ffffffffffffff0\r\n"
    while True:
        yield ZEROS


def _chunk_extension() -> Iterator[bytes]:
    yield CHUNKED + b"1;"
    while True:
        yield b"x" * 65536


def _chunk_size_that_never_ends() -> Iterator[bytes]:
    yield CHUNKED
    while True:
        yield b"0" * 65536


def _trailers() -> Iterator[bytes]:
    yield CHUNKED + b"0\r\n"
    while True:
        yield b"X-A: b\r\n" * 1000


def _body_without_end() -> Iterator[bytes]:
    yield HEAD + b"\r\n"
    while True:
        yield ZEROS


def _a_header_of_100_mb() -> Iterator[bytes]:
    yield HEAD + b"X-Long: "
    for _ in range(100):
        yield b"a" * len(ZEROS)
    yield b"\r\n\r\n"


def _a_name_of_100_mb() -> Iterator[bytes]:
    yield HEAD
    for _ in range(100):
        yield b"a" * len(ZEROS)
    yield b": b\r\n\r\n"


def _a_reason_of_100_mb() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 "
    for _ in range(100):
        yield b"a" * len(ZEROS)
    yield b"\r\n\r\n"


def _a_million_headers() -> Iterator[bytes]:
    yield HEAD
    for start in range(0, 1_000_000, 1000):
        yield b"".join(f"X-{n}: {n}\r\n".encode() for n in range(start, start + 1000))
    yield b"\r\n"


def _a_million_cookies() -> Iterator[bytes]:
    yield HEAD
    for start in range(0, 1_000_000, 1000):
        yield b"".join(f"Set-Cookie: c{n}={n}\r\n".encode() for n in range(start, start + 1000))
    yield b"\r\n"


def _folded_header() -> Iterator[bytes]:
    yield HEAD + b"X-Long: a\r\n"
    while True:
        yield b" a\r\n" * 1000


def _interim_answers() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" * 100


def _continues() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100


def _large_interim_answers() -> Iterator[bytes]:
    for _ in range(9):
        yield b"HTTP/1.1 103 Early Hints\r\n" + b"Link: %b\r\n" % (b"a" * 6000) * 10 + b"\r\n"
    yield HEAD + b"Content-Length: 2\r\n\r\n{}"


def _interims(count: int) -> Callable[[], Iterator[bytes]]:
    final = HEAD + b"Content-Length: 2\r\n\r\n{}"
    return lambda: iter([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * count + final])


def _answers_without_end() -> Iterator[bytes]:
    while True:
        yield (HEAD + b"Content-Length: 2\r\n\r\n{}") * 1000


def _switching() -> Iterator[bytes]:
    yield b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    while True:
        yield ZEROS


def _empty_lines() -> Iterator[bytes]:
    while True:
        yield b"\r\n" * 10_000


def _dripping(*parts: bytes) -> Callable[[], Iterator[bytes]]:
    """One byte a second, after what comes at once."""

    def drip() -> Iterator[bytes]:
        yield parts[0]
        while True:
            threading.Event().wait(1.0)
            yield parts[1]

    return drip


def _more_than_said() -> Iterator[bytes]:
    yield HEAD + b"Content-Length: 2\r\n\r\n{}"
    for _ in range(100):
        yield ZEROS


def _less_than_said() -> Iterator[bytes]:
    yield HEAD + b"Content-Length: 1000\r\n\r\n{}"


def _huge_length() -> Iterator[bytes]:
    yield HEAD + b"Content-Length: 9223372036854775807\r\n\r\n"
    while True:
        yield ZEROS


def _once(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([data])


# What is sent, and the endings that are right.
BOMBS: Final[dict[str, tuple[Callable[[], Iterator[bytes]], set[str]]]] = {
    "gzip, 10 GB": (lambda: _encoded("gzip", 31), {"http.too_large"}),
    "deflate, 10 GB": (lambda: _encoded("deflate", 15), {"http.too_large"}),
    "raw deflate, 10 GB": (lambda: _encoded("deflate", -15), {"http.too_large"}),
    "gzip, 1 GB in one piece": (_gzip_at_once, {"http.too_large"}),
    "gzip, many members": (_gzip_members, {"answer", "http.too_large"}),
    "gzip in gzip": (_gzip_twice, {"answer", "http.too_large"}),
    "gzip in chunks": (_gzip_in_chunks, {"http.too_large"}),
    "gzip without content": (_gzip_of_nothing, {"http.too_large"}),
    "chunks without end": (_chunks, {"http.too_large"}),
    "chunks of one byte": (_chunks_of_one, {"http.too_large", "timeout"}),
    "a chunk of 2^60 bytes": (_chunk_that_is_huge, {"http.too_large", "http.invalid_answer", "connection.lost"}),
    "a chunk extension without end": (_chunk_extension, {"http.too_large"}),
    "a chunk size without end": (_chunk_size_that_never_ends, {"http.too_large", "http.invalid_answer"}),
    "trailers without end": (_trailers, {"http.invalid_answer", "connection.lost"}),
    "a body without end": (_body_without_end, {"http.too_large"}),
    "a header of 100 MB": (_a_header_of_100_mb, {"http.invalid_answer"}),
    "a header's name of 100 MB": (_a_name_of_100_mb, {"http.invalid_answer"}),
    "a reason of 100 MB": (_a_reason_of_100_mb, {"http.invalid_answer"}),
    "1,000,000 headers": (_a_million_headers, {"http.invalid_answer"}),
    "1,000,000 cookies": (_a_million_cookies, {"http.invalid_answer"}),
    "a folded header without end": (_folded_header, {"http.invalid_answer"}),
    "1xx answers without end": (_interim_answers, {"http.invalid_answer"}),
    "100 Continue without end": (_continues, {"http.invalid_answer"}),
    "empty lines without end": (_empty_lines, {"http.invalid_answer"}),
    "interim answers of 60 kB": (_large_interim_answers, {"http.invalid_answer"}),
    "11 interim answers": (_interims(11), {"http.invalid_answer"}),
    "10 interim answers": (_interims(10), {"answer"}),
    "answers that nobody asked for": (_answers_without_end, {"answer"}),
    "headers of 60 kB": (_once(HEAD + b"X: %b\r\n" % (b"a" * 5000) * 12 + b"Content-Length: 2\r\n\r\n{}"), {"answer"}),
    "headers of 70 kB": (
        _once(HEAD + b"X: %b\r\n" % (b"a" * 5000) * 14 + b"Content-Length: 2\r\n\r\n{}"),
        {"http.invalid_answer"},
    ),
    "chunks of 8 bytes": (_once(CHUNKED + b"8\r\nabcdefgh\r\n" * 100_000 + b"0\r\n\r\n"), {"answer"}),
    "HTTP/0.9": (_once(b"<html>hello</html>"), {"http.invalid_answer", "connection.lost"}),
    "HTTP/2 at once": (_once(bytes(9) + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), {"http.invalid_answer"}),
    "101 without a wish for it": (_switching, {"answer"}),
    "1 B/s of a head": (_dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"), {"timeout"}),
    "1 B/s of a body": (_dripping(HEAD + b"\r\n", b"x"), {"timeout"}),
    "1 B/s of a chunk": (_dripping(CHUNKED + b"ffff\r\n", b"x"), {"timeout"}),
    "silence": (_dripping(b"", b""), {"timeout"}),
    "more than said": (_more_than_said, {"answer", "http.invalid_answer"}),
    # Its connection may be that of the answer before, of which there is more.
    "less than said": (_less_than_said, {"connection.lost", "http.invalid_answer"}),
    "a length of 2^63-1": (_huge_length, {"http.too_large"}),
    "a length of 2^64": (_once(HEAD + b"Content-Length: 18446744073709551616\r\n\r\nx"), {"http.invalid_answer"}),
    "a length below 0": (_once(HEAD + b"Content-Length: -1\r\n\r\nx"), {"http.invalid_answer"}),
    "two lengths": (_once(HEAD + b"Content-Length: 1\r\nContent-Length: 9\r\n\r\nx"), {"http.invalid_answer"}),
    "a length and chunks": (
        _once(HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        {"answer", "http.invalid_answer"},
    ),
    "no HTTP": (_once(b"\x16\x03\x01\x02\x00\x01" * 100), {"http.invalid_answer"}),
    "nothing": (_once(b""), {"connection.lost"}),
}


class Bomber:
    """Answers `GET /7` with the seventh bomb, until the other side has gone."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._is_open = True
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while self._is_open:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(20.0)
            try:
                target = connection.recv(65536).split()[1].decode().removeprefix("/")
                if not target.isdigit():
                    connection.sendall(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
                    return
                bomb, _ = list(BOMBS.values())[int(target)]
                for part in bomb():
                    if not self._is_open:
                        return
                    connection.sendall(part)
            except (OSError, IndexError):
                return

    def close(self) -> None:
        self._is_open = False
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
