"""What a run needs from around it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowrunner.plugin import HttpClient, NodeType
from flowrunner.ports import Broadcast, Clock, FlowLibrary, Journal, Vault


@dataclass(slots=True, kw_only=True)
class World:
    """The ports of the engine, and what its runs share.

    Attributes:
        draw: A uniform sample from [0, 1), for jitter.
        epoch: Owner's mark on every append; 0 until the journal has been claimed.
        is_stopping: No step begins any more; the ones under way may end.
    """

    journal: Journal
    library: FlowLibrary
    vault: Vault
    broadcast: Broadcast
    node_types: Mapping[str, NodeType[Any]]
    http: HttpClient
    clock: Clock
    draw: Callable[[], float]
    epoch: int = 0
    is_stopping: bool = False
