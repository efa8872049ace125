"""The chains of a workspace: their number, and the loops that they make."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from flowrunner.domain.errors import LimitReached, quoted
from flowrunner.domain.limits import check_count
from flowrunner.domain.values import FlowId

# Chains of a workspace. A change of one reads all of them.
MOST_CHAINS: Final = 1_000
# Chains that listen to one flow. The commit that ends an execution of it adds a row for each.
MOST_LISTENERS: Final = 100


class StoredChain(NamedTuple):
    """A chain of a flow.

    Attributes:
        flow_id: The flow that it starts.
        source: The id or the name of the flow that it listens to.
    """

    flow_id: FlowId
    flow_name: str
    name: str
    source: str


class ChainLoop(NamedTuple):
    """A chain of a loop. Args: by_way_of: The name of the flow that it listens to."""

    chain: StoredChain
    by_way_of: str


def check_counts(chains: Sequence[StoredChain]) -> None:
    """Raises: LimitReached if a workspace has more than it may have, in all or of one flow."""
    check_count("chains", len(chains) - 1, MOST_CHAINS, limit="chains")
    for source, count in Counter(chain.source for chain in chains).most_common(1):
        if count > MOST_LISTENERS:
            message = (
                f"At most {MOST_LISTENERS} chains may listen to the flow {quoted(source)}: "
                "let one flow listen, and start the others with nodes of type flow"
            )
            raise LimitReached(message, limit="chain_listeners", most=MOST_LISTENERS)


class ChainGraph:
    """The flows of a workspace, and which of them the ends of others start."""

    def __init__(self, chains: Sequence[StoredChain]) -> None:
        self._names = {chain.flow_id: chain.flow_name for chain in chains}
        self._chains = defaultdict[FlowId, list[StoredChain]](list)
        self._listeners = defaultdict[str, list[FlowId]](list)
        for chain in chains:
            self._chains[chain.flow_id].append(chain)
            self._listeners[chain.source].append(chain.flow_id)

    def loop_of(self, flow_id: FlowId) -> ChainLoop | None:
        """Return a chain of the flow by which an end of its execution would start it again; None if there is none."""
        names = self._reached_from(flow_id)
        return next(
            (ChainLoop(chain, names[chain.source]) for chain in self._chains[flow_id] if chain.source in names), None
        )

    def _reached_from(self, flow_id: FlowId) -> dict[str, str]:
        """Return the names of a flow and of those that its ends start, directly or through others, by id and name."""
        found: dict[str, str] = {}
        todo = [flow_id]
        while todo:
            id = todo.pop()
            if id in found:
                continue
            name = self._names.get(id, "")
            found[id] = found[name] = name
            todo += self._listeners.get(id, []) + self._listeners.get(name, [])
        return found
