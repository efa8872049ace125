"""The levels of lines in the log of an execution."""

from typing import Final, Literal, TypeAlias, get_args

LogLevel: TypeAlias = Literal["debug", "info", "warn", "error"]
LOG_LEVELS: Final[frozenset[LogLevel]] = frozenset(get_args(LogLevel))
