"""Executions that repeat another one: whole, with other input, or from one of its steps on."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, invalid
from flowrunner.domain.events import NodeStarted
from flowrunner.domain.execution import IllegalEvent
from flowrunner.domain.flow import Flow, Node
from flowrunner.domain.rerun import NoSuchStep, Timed, find_step, kept_before
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports import ExecutionReader, FlowLibrary, FlowStore, Journal
from flowrunner.services.executions import Accepted, Executions, Origin, Repetition, digest_of
from flowrunner.services.replays import Replays


class Reruns:
    def __init__(
        self,
        executions: Executions,
        reader: ExecutionReader,
        journal: Journal,
        flows: FlowStore,
        library: FlowLibrary,
    ) -> None:
        self._executions = executions
        self._reader = reader
        self._replays = Replays(journal)
        self._flows = flows
        self._library = library

    async def rerun(
        self,
        caller: Caller,
        id: ExecutionId,
        *,
        from_step: str | None = None,
        input: Mapping[str, JSON] | None = None,
        revision: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Start an execution that repeats ``id``, with what it gave before ``from_step``.

        Args:
            from_step: Where it begins: a node, or a step such as `each.1[4]/push.1`; the whole if None.
            input: The input to go by; the same if None.
            revision: Number or label of the flow's revision to run; the one that ran if None.

        Raises:
            NotFound.
            InvalidInput: If there is no such step, the input does not fit, or the key was used for another request.
            Conflict: If what is kept does not fit the revision.
        """
        asked: JSON = [id, from_step, input, revision]
        if idempotency_key is not None:
            repeated = await self._executions.accepted_before(caller.account_id, idempotency_key, digest_of(asked))
            if repeated is not None:
                return repeated
        before = await self._reader.get(caller.account_id, id)
        revision_id = before.revision_id
        if revision is not None:
            revision_id = await self._flows.revision_named(caller.account_id, before.flow_id, revision)
        prefix: Sequence[Timed] = []
        if from_step is not None:
            try:
                prefix = await self._replays.of(caller.account_id, id, lambda events: _kept(events, from_step))
            except NoSuchStep as error:
                raise invalid("from", str(error)) from None
            if revision_id != before.revision_id:
                _check_fits(prefix, await self._library.get(caller.account_id, revision_id))
        given = msgspec.json.decode(before.input) if input is None else input
        try:
            return await self._executions.accept(
                Origin(account_id=caller.account_id, by=caller.account_id, caller=caller),
                before.flow_id,
                given,
                revision_id=revision_id,
                idempotency_key=idempotency_key,
                repetition=Repetition(of=id, from_step=from_step, prefix=prefix, asked=asked),
            )
        except IllegalEvent as error:
            raise Conflict(f"What the execution has done does not fit this revision: {error}") from None


def _kept(events: Sequence[Timed], from_step: str) -> Sequence[Timed]:
    """Raises: NoSuchStep."""
    return kept_before(events, find_step(events, from_step))


def _check_fits(prefix: Sequence[Timed], flow: Flow) -> None:
    """Raises: Conflict if the flow lacks a node that the kept events are of."""
    # Nodes of different scopes may have the same name.
    nodes = set(_nodes(flow.nodes))
    for event, _ in prefix:
        if isinstance(event, NodeStarted) and (event.node, event.node_type) not in nodes:
            raise Conflict(
                f"The revision has no node '{event.node}' of type {event.node_type}, whose result would be kept"
            )


def _nodes(nodes: Mapping[str, Node]) -> Iterator[tuple[str, str]]:
    for name, node in nodes.items():
        yield name, node.type
        for graph in node.inner.values():
            yield from _nodes(graph.nodes)
