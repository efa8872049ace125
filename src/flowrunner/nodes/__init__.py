"""Registry of node types: the built-in ones, and those that installed packages add.

Both use only the public contract, `flowrunner.plugin`.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from flowrunner.plugin import NodeType

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# The group of entry points under which a package adds node types, each as `name = "module:Class"`.
GROUP: Final = "flowrunner.nodes"
# Module and class of each node type that comes with FlowRunner, by its name.
# Listed here and not by entry points: these are written at an installation, and a source tree changes after it.
_BUILT_IN: Final = {
    "http.request": ("http_request", "HttpRequest"),
    "webhook": ("webhook", "Webhook"),
    "email.send": ("email_send", "EmailSend"),
    "email.receive": ("email_receive", "EmailReceive"),
    "llm": ("llm", "Llm"),
    "agent": ("agent", "Agent"),
    "mcp": ("mcp", "Mcp"),
    "sql": ("sql", "Sql"),
    "transform": ("transform", "Transform"),
    "switch": ("switch", "SwitchNode"),
    "condition": ("condition", "ConditionNode"),
    "foreach": ("loops", "Foreach"),
    "while": ("loops", "While"),
    "parallel": ("loops", "Parallel"),
    "flow": ("subflow", "SubflowNode"),
    "delay": ("delay", "Delay"),
    "wait": ("wait", "WaitNode"),
    "approval": ("wait", "Approval"),
    "return": ("control", "Return"),
    "fail": ("control", "Fail"),
    "log": ("log", "Log"),
    "set": ("control", "Set"),
    "store": ("store", "StoreNode"),
}


def built_in() -> Mapping[str, NodeType[Any]]:
    """Return the node types that come with FlowRunner, by name."""
    return {name: _built_in(name) for name in _BUILT_IN}


def _built_in(name: str) -> NodeType[Any]:
    module, class_name = _BUILT_IN[name]
    made: NodeType[Any] = getattr(import_module(f"{__name__}.{module}"), class_name)()
    return made


class NodeTypesOnDemand(Mapping[str, NodeType[Any]]):
    """The result of `installed`, imported as it is asked for: most flows use few types, and none of packages."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._found: dict[str, NodeType[Any]] = {}
        self._are_all: Mapping[str, NodeType[Any]] | None = None

    def __getitem__(self, name: str) -> NodeType[Any]:
        if name not in self._found:
            self._found[name] = _built_in(name) if name in _BUILT_IN else self._all()[name]
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in _BUILT_IN or name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, NodeType[Any]]:
        if self._are_all is None:
            self._are_all = installed(self._report)
        return self._are_all


def installed(report: Callable[[str], None]) -> Mapping[str, NodeType[Any]]:
    """Return the built-in node types and those of installed packages, by name.

    Args:
        report: Called with a message about each node type that cannot be used. The others are not affected.
    """
    from importlib.metadata import entry_points

    found = dict(built_in())
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            node_type = _load(entry)
            if node_type.type in found:
                raise ValueError(f"there already is a node type '{node_type.type}'")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # code of other packages may raise anything, such as a panic of a Rust library
            report(f"The node type '{entry.name}' ({entry.value}) cannot be used: {type(error).__name__}: {error}")
        else:
            found[node_type.type] = node_type
    return found


def _load(entry: "EntryPoint") -> NodeType[Any]:
    made = entry.load()
    if not (isinstance(made, type) and issubclass(made, NodeType)):
        raise TypeError("it is not a subclass of flowrunner.plugin.NodeType")
    node_type: NodeType[Any] = made()
    _check_declared(node_type)
    spec = node_type.spec()
    # A type without parameters that can be described would break the schema of the whole language, and one that cannot
    # say what a node without parameters does the list of all types.
    spec.params_schema()
    spec.actions_of({})
    spec.check({})
    spec.repeatable({})
    spec.timeout_of({})
    return node_type


def _check_declared(node_type: NodeType[Any]) -> None:
    """Raise TypeError for an attribute that could not be shown: the list of all types would fail with it."""
    if not (isinstance(node_type.type, str) and node_type.type):
        raise TypeError("'type' must be a text")
    for name in ("actions", "errors", "examples"):
        texts = getattr(node_type, name)
        if not (isinstance(texts, frozenset | set | tuple | list) and all(isinstance(text, str) for text in texts)):
            raise TypeError(f"'{name}' must hold texts")
    seconds: object = node_type.timeout_seconds
    if not (seconds is None or (isinstance(seconds, int | float) and seconds > 0)):
        raise TypeError("'timeout_seconds' must be a number above 0, or None")
