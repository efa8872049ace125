"""Node type `log`: add a line to the execution's log."""

from typing import Any

from flowrunner.nodes.texts import Message
from flowrunner.plugin import JSON, LogLevel, NodeType, Params, StepContext


class LogParams(Params):
    message: Message
    level: LogLevel = "info"
    data: Any = None


class Log(NodeType[LogParams]):
    """Adds a line to the log. Returns its input."""

    type = "log"
    examples = (
        "type: log\nparams:\n  message: An order has come\n  data: ${input}\n",
        "type: log\nparams:\n  message: Order ${input.id} is paid\n  data: {total: '${input.total}'}\n",
    )
    Params = LogParams
    pure = True

    async def run(self, params: LogParams, context: StepContext) -> JSON:
        context.log(params.level, params.message, params.data)
        return context.input
