"""Registry of node types: the built-in ones, and those that installed packages add.

Both use only the public contract, `flowrunner.plugin`.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from flowrunner.nodes.condition import ConditionNode
from flowrunner.nodes.control import Fail, Return, Set
from flowrunner.nodes.delay import Delay
from flowrunner.nodes.http_request import HttpRequest
from flowrunner.nodes.log import Log
from flowrunner.nodes.loops import Foreach, Parallel, While
from flowrunner.nodes.subflow import SubflowNode
from flowrunner.nodes.switch import SwitchNode
from flowrunner.nodes.transform import Transform
from flowrunner.nodes.wait import Approval, WaitNode
from flowrunner.nodes.webhook import Webhook
from flowrunner.plugin import NodeType

# The group of entry points under which a package adds node types, each as `name = "module:Class"`.
GROUP: Final = "flowrunner.nodes"


def built_in() -> Mapping[str, NodeType[Any]]:
    """Return the node types that come with FlowRunner, by name."""
    types: tuple[NodeType[Any], ...] = (
        HttpRequest(), Webhook(), Transform(), SwitchNode(), ConditionNode(), Foreach(), While(), Parallel(),
        SubflowNode(), Delay(), WaitNode(), Approval(), Return(), Fail(), Log(), Set(),
    )  # fmt: skip
    return {node_type.type: node_type for node_type in types}


def installed(report: Callable[[str], None]) -> Mapping[str, NodeType[Any]]:
    """Return the built-in node types and those of installed packages, by name.

    Args:
        report: Called with a message about each node type that cannot be used. The others are not affected.
    """
    # Listed here and not by entry points: these are written at an installation, and a source tree changes after it.
    found = dict(built_in())
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            node_type = _load(entry)
            if node_type.type in found:
                raise ValueError(f"there already is a node type '{node_type.type}'")
        except Exception as error:  # code of other packages may raise anything
            report(f"The node type '{entry.name}' ({entry.value}) cannot be used: {type(error).__name__}: {error}")
        else:
            found[node_type.type] = node_type
    return found


def _load(entry: EntryPoint) -> NodeType[Any]:
    made = entry.load()
    if not (isinstance(made, type) and issubclass(made, NodeType)):
        raise TypeError("it is not a subclass of flowrunner.plugin.NodeType")
    node_type: NodeType[Any] = made()
    # A type without parameters that can be described would break the schema of the whole language.
    node_type.spec().params_schema()
    return node_type
