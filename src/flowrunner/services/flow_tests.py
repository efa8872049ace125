"""Use case of the tests in a flow document that is not saved."""

from flowrunner.domain.account import Caller
from flowrunner.ports.flow_tests import FlowTestRun, FlowTestRunner
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.language import Language


class FlowTests:
    def __init__(self, language: Language, runner: FlowTestRunner) -> None:
        self._language = language
        self._runner = runner
        # Tests keep a CPU busy for seconds.
        self._locks = AccountLocks()

    async def run(self, caller: Caller, definition: str) -> FlowTestRun:
        """Run the tests of a definition; an account's requests run one after the other.

        Raises: InvalidFlow with every fault; InvalidInput if the tests take too much; Unavailable.
        """
        async with self._locks.of(caller):
            await self._language.read(definition)
            return await self._runner.run(definition)
