"""Templates that are ready to render, with the names that they read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flowrunner.domain.expression import Code, Constant, MapOf, Path, Template, Text, codes_of, expressions_of
from flowrunner.domain.expression.url_text import UrlText


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentions:
    """The names that a node's expressions read."""

    roots: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    config: frozenset[str] = frozenset()
    # Those of both that are read without a default, each with `secrets` or `config`.
    needed: frozenset[tuple[str, str]] = frozenset()
    nodes: frozenset[str] = frozenset()
    # An expression reads nodes by names that it computes.
    any_node: bool = False
    # Keys of `trigger`.
    trigger: frozenset[str] = frozenset()


def mentions_of(*templates: Template) -> Mentions:
    roots, secrets, config, nodes, trigger, any_node = set(), set(), set(), set(), set(), False
    needed = set()
    for root, keys, has_default in _references(*templates):
        roots.add(root)
        if root in ("secrets", "config") and keys and not has_default:
            needed.add((root, str(keys[0])))
        if root == "secrets":
            secrets.add(str(keys[0]))
        # Without keys it is an element of a loop.
        elif root == "config" and keys:
            config.add(str(keys[0]))
        elif root == "nodes" and keys:
            nodes.add(str(keys[0]))
        elif root == "nodes":
            any_node = True
        elif root == "trigger" and keys:
            trigger.add(str(keys[0]))
    return Mentions(
        roots=frozenset(roots),
        secrets=frozenset(secrets),
        config=frozenset(config),
        needed=frozenset(needed),
        nodes=frozenset(nodes),
        any_node=any_node,
        trigger=frozenset(trigger),
    )


def _references(*templates: Template) -> list[tuple[str, tuple[str | int, ...], bool]]:
    found: list[tuple[str, tuple[str | int, ...], bool]] = []
    for template in templates:
        for expression in expressions_of(template):
            if isinstance(expression, Path):
                found.append((expression.root, expression.keys, False))
            elif isinstance(expression, Code):
                found.extend((read.root, read.keys, read.has_default) for read in expression.references)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A template with everything needed to render it.

    Attributes:
        codes: Code that the sandbox has to evaluate first.
        mentions: Names that the template reads.
    """

    template: Template
    codes: tuple[Code, ...] = ()
    mentions: Mentions = Mentions()

    @property
    def is_constant(self) -> bool:
        return isinstance(self.template, Constant)

    @property
    def is_quick(self) -> bool:
        """Return whether it renders without waiting for the sandbox or the vault."""
        return not (self.codes or self.mentions.secrets)


def prepared(template: Template) -> Prepared:
    return Prepared(template=template, codes=codes_of(template), mentions=mentions_of(template))


def with_constant(prepared: Prepared, key: str, text: str) -> Prepared:
    """Return the template of a map with another text, without expressions, under one of its keys."""
    template = prepared.template
    if isinstance(template, Constant) and isinstance(template.value, Mapping):
        return replace(prepared, template=Constant({**template.value, key: text}))
    if isinstance(template, MapOf):
        items = tuple((name, Constant(text) if name == key else value) for name, value in template.items)
        return replace(prepared, template=MapOf(items))
    return prepared


def with_url(prepared: Prepared, key: str, root: str) -> Prepared:
    """Return the template of a map with a URL under one of its keys, in which values of ``root`` lead nowhere else."""
    template = prepared.template
    if not isinstance(template, MapOf):
        return prepared
    items = tuple(
        (name, UrlText(value.parts, root) if name == key and isinstance(value, Text) else value)
        for name, value in template.items
    )
    return replace(prepared, template=MapOf(items))
