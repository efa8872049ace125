"""What a node type is given when a test runs it by itself."""

from dataclasses import dataclass, field
from datetime import datetime

from flowrunner.domain.execution import LogLevel
from flowrunner.domain.values import JSON
from flowrunner.plugin import HttpClient
from support.databases import NOON


@dataclass
class PlainContext:
    """Fills `plugin.StepContext`; keeps the log lines."""

    http: HttpClient
    input: JSON = None
    execution_id: str = "exec-1"
    node: str = "a"
    iteration: int = 1
    attempt: int = 1
    lines: list[tuple[LogLevel, str, JSON]] = field(default_factory=list)

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}.{self.node}.{self.iteration}"

    def now(self) -> datetime:
        return NOON

    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        self.lines.append((level, message, data))
