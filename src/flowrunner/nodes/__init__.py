"""Built-in node types. They use only the public contract, `flowrunner.plugin`."""

from collections.abc import Mapping

from flowrunner.nodes.control import Fail, Return, Set
from flowrunner.nodes.delay import Delay
from flowrunner.nodes.http_request import HttpRequest
from flowrunner.nodes.log import Log
from flowrunner.nodes.loops import Foreach, Parallel, While
from flowrunner.nodes.subflow import SubflowNode
from flowrunner.nodes.switch import ConditionNode, SwitchNode
from flowrunner.nodes.transform import Transform
from flowrunner.nodes.wait import Approval, WaitNode
from flowrunner.nodes.webhook import Webhook
from flowrunner.plugin import NodeType


def built_in() -> Mapping[str, NodeType]:  # type: ignore[type-arg] # each has parameters of its own
    """Return the node types that come with FlowRunner, by name."""
    types = (
        HttpRequest(), Webhook(), Transform(), SwitchNode(), ConditionNode(), Foreach(), While(), Parallel(),
        SubflowNode(), Delay(), WaitNode(), Approval(), Return(), Fail(), Log(), Set(),
    )  # fmt: skip
    return {node_type.type: node_type for node_type in types}
