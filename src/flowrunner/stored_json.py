"""JSON of stored rows, of which one that cannot be read must not hide or stop the others."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from flowrunner.bounded_json import BoundedDecoder

T = TypeVar("T")

logger = structlog.get_logger()


class StoredJson(Generic[T]):
    """A decoder of one column.

    Args:
        column: Table and column, for the log.
        decode: Used in place of a decoder of the type.
    """

    def __init__(self, type: Any, *, column: str, decode: Callable[[str | bytes], T] | None = None) -> None:
        self._decode: Callable[[str | bytes], T] = decode or BoundedDecoder[T](type).decode
        self._column = column

    def read(self, data: str | bytes, *, id: str) -> T | None:
        """Return the value; None, with a line in the log that names the row, if it cannot be read."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            _report(self._column, id, str(error))
            return None


# A list is read often: each process names a row once.
@lru_cache(maxsize=1024)
def _report(column: str, id: str, error: str) -> None:
    logger.error("row.unreadable", column=column, id=id, error=error)
