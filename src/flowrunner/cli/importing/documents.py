"""Flows as values that are written as YAML, and the report of what was left out."""

import contextlib
import itertools
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

from flowrunner.bounded_json import decode_json
from flowrunner.cli.common import say, unusable
from flowrunner.cli.flow_files import write_flow_file
from flowrunner.cli.text import plain
from flowrunner.domain.counted import counted

MAX_SPEC_BYTES: Final = 16 * 1024 * 1024
# Reports what needs a look.
Note = Callable[[str], None]
_LONGEST_NAME: Final = 60
# Text that YAML 1.1 and 1.2 read as the same text without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z_ ./-]*[A-Za-z_./]|[A-Za-z]")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"})


@dataclass(slots=True)
class Imported:
    """A flow that was made of something else.

    Attributes:
        notes: What has no counterpart, and needs a look.
    """

    name: str
    document: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def as_map(value: Any) -> Mapping[str, Any]:
    """Return a value of a file if it is a map; otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """Return a value of a file if it is a list; otherwise an empty one."""
    return value if isinstance(value, list) else []


def maps_in(value: Any) -> list[Mapping[str, Any]]:
    """Return the maps in a value of a file, if it is a list."""
    return [one for one in as_list(value) if isinstance(one, Mapping)]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def _text(self, text: str) -> yaml.ScalarNode:
        if "\n" in text and text.isprintable() is False and all(c.isprintable() or c == "\n" for c in text):
            return self.represent_scalar("tag:yaml.org,2002:str", text, style="|")
        is_plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _Dumper._text)


def as_yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def literal(text: str) -> str:
    """Return text as it stands in a parameter, where `${` begins an expression."""
    return text.replace("${", "$${")


def identifier(text: str, taken: Collection[str], *, otherwise: str) -> str:
    """Return a name for a node, an input or a secret that is none of ``taken``."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    made = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:_LONGEST_NAME]
    if not made or not made[0].isalpha():
        made = f"{otherwise}_{made}".strip("_")
    number, unique = 1, made
    while unique in taken:
        number += 1
        unique = f"{made}_{number}"
    return unique


def read_spec(file: str) -> Any:
    """Return the value of a JSON or YAML file. Raises: CommandFailed."""
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_SPEC_BYTES + 1)
        if len(content) > MAX_SPEC_BYTES:
            raise unusable(f"{file} has more than {MAX_SPEC_BYTES} bytes")
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
            # The parser of YAML does not read all of JSON, such as escaped surrogate pairs.
            return decode_json(content.removeprefix(BOM_UTF8))
        loader = yaml.CSafeLoader(content.decode())
        root = loader.get_single_node()
        if root is None:
            return None
        # A few lines of aliases may stand for any size, and for themselves.
        if _is_too_long(root):
            raise unusable(f"{file} has more than {MAX_SPEC_BYTES} characters, aliases written out")
        return loader.construct_document(root)
    except OSError as error:
        raise unusable(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise unusable(f"{file} is neither JSON nor YAML: {str(error).splitlines()[0]}") from None


def _is_too_long(root: yaml.Node) -> bool:
    """Return whether a document has too many characters and values, aliases and merged maps written out."""
    left, unread = MAX_SPEC_BYTES, [root]
    while unread:
        node = unread.pop()
        left -= len(node.value) + 1
        if left < 0:
            return True
        if isinstance(node, yaml.SequenceNode):
            unread += node.value
        elif isinstance(node, yaml.MappingNode):
            unread += itertools.chain.from_iterable(node.value)
    return False


def write_all(flows: Collection[Imported], directory: Path) -> None:
    """Write the flows, and report what was left out. Raises: click.UsageError."""
    for flow in flows:
        write_flow_file(directory, flow.name, as_yaml(flow.document).encode())
        click.echo(plain(flow.name))
        for note in flow.notes:
            say(f"{flow.name}: {note}")
    left = sum(len(flow.notes) for flow in flows)
    say(f"{counted(len(flows), 'flow')} in {directory}, {counted(left, 'place needs', 'places need')} review")
