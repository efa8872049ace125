"""Decompression of answers, which rejects a compressed stream that ends early."""

import zlib
from typing import Any, Final

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError


class IncompleteStream(ContentEncodingError):
    """A compressed body that ends before its compressed data does."""

    def __init__(self) -> None:
        super().__init__("the compressed data is not complete")


class WholeStream:
    """One compressed stream, as aiohttp uses an object of `zlib.decompressobj`.

    aiohttp itself takes a gzip stream without its end as complete, so a flow would go on with a part of the answer.
    """

    def __init__(self, **options: Any) -> None:
        self._stream = zlib.decompressobj(**options)
        self._has_begun = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unconsumed_tail(self) -> bytes:
        return self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: Any, max_length: int = 0) -> bytes:
        self._has_begun = self._has_begun or len(data) > 0
        return self._stream.decompress(data, max_length)

    def flush(self, *length: int) -> bytes:
        """Return what is left. Called at the end of the body.

        Raises:
            IncompleteStream.
        """
        if self._has_begun and not self._stream.eof:
            raise IncompleteStream
        return self._stream.flush(*length)


class _Backend:
    """The module `zlib` with `WholeStream` as its decompressor."""

    __name__: Final = "zlib"

    def decompressobj(self, **options: Any) -> WholeStream:
        return WholeStream(**options)

    def __getattr__(self, name: str) -> Any:
        return getattr(zlib, name)


def require_whole_streams() -> None:
    """Let every client of aiohttp in this process reject compressed bodies that are not complete."""
    aiohttp.set_zlib_backend(_Backend())  # type: ignore[arg-type]
