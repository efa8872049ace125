"""Use case of trying one node of a definition that is not saved."""

from dataclasses import replace

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import act
from flowrunner.domain.errors import StartsPaused
from flowrunner.ports.audit import AuditStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.config import ConfigReader
from flowrunner.ports.node_trials import NodeTrials, Trial, TrialContext
from flowrunner.ports.pause import PauseStore
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.language import Language


class NodeTrialService:
    def __init__(
        self,
        language: Language,
        trials: NodeTrials,
        *,
        config: ConfigReader,
        pause: PauseStore,
        audit: AuditStore,
        clock: Clock,
    ) -> None:
        self._language = language
        self._trials = trials
        self._config = config
        self._pause = pause
        self._audit = audit
        self._clock = clock
        self._locks = AccountLocks()

    async def run(self, caller: Caller, definition: str, node: str, given: TrialContext) -> Trial:
        """Run one attempt of a node with its real effects; an account's trials run one after the other.

        The node may read any secret of the workspace, as a flow may that the caller saves and runs.

        Raises: Forbidden; InvalidFlow with every fault; InvalidInput; StartsPaused; Unavailable.
        """
        authorise(caller, Right.WRITE)
        authorise(caller, Right.RUN)
        async with self._locks.of(caller):
            flow = await self._language.read(definition)
            if await self._pause.paused_at() is not None:
                raise StartsPaused
            # Before the node runs: none has an effect without an entry.
            node_type = self._trials.type_of(flow, node, given.results)
            await self._audit.add(act(caller, "node.tried", "node_type", node_type, at=self._clock.now()))
            given = replace(given, config=await self._config.values(caller.workspace_id, flow.config))
            return await self._trials.run(flow, node, given, workspace_id=caller.workspace_id, by=caller.account_id)
