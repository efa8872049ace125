"""The workflow as a later version might have it: changed in the way that its module asks for."""

from temporalio import workflow

from flowrunner.dispatch.temporal.workflow import WORKFLOW, ExecutionWorkflow


@workflow.defn(name=WORKFLOW)
class NewerWorkflow(ExecutionWorkflow):
    @workflow.signal(name="nudge")
    def nudge(self) -> None:
        super().nudge()

    @workflow.run
    async def run(self, execution_id: str) -> None:
        if workflow.patched("rests-first"):
            await workflow.sleep(0.01)
        await super().run(execution_id)


@workflow.defn(name=WORKFLOW)
class CarelessWorkflow(ExecutionWorkflow):
    """The same change, made without asking."""

    @workflow.signal(name="nudge")
    def nudge(self) -> None:
        super().nudge()

    @workflow.run
    async def run(self, execution_id: str) -> None:
        await workflow.sleep(0.01)
        await super().run(execution_id)
