"""Cases of the conformance kit, read from their files. README.md describes each key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from flowrunner.language.yaml_source import read_yaml

RULES: Final = Path(__file__).parent / "rules"

Json: TypeAlias = Any


class Expectation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Expected outcome. Keys that are not named are not compared.

    Attributes:
        executions: Expectations of further executions, by the name of their step or of their flow.
        absent: Texts that must be neither stored nor sent.
        takes: Duration between start and end on the clock of the test.
        interleaved: Steps and events of different scopes may come in any order.
    """

    status: str | UnsetType = UNSET
    path: Sequence[str] | UnsetType = UNSET
    steps: Sequence[str] | UnsetType = UNSET
    events: Sequence[str] | UnsetType = UNSET
    interleaved: bool = False
    result: Json = UNSET
    input: Json = UNSET
    error: Mapping[str, Json] | UnsetType = UNSET
    log: Sequence[str] | UnsetType = UNSET
    requests: Sequence[Json] | UnsetType = UNSET
    waiting_for: Sequence[Mapping[str, Json]] | UnsetType = UNSET
    takes: str | UnsetType = UNSET
    absent: Sequence[str] = ()
    executions: "Mapping[str, Expectation]" = {}
    refused: Sequence[Mapping[str, Json]] | UnsetType = UNSET
    warnings: Sequence[Mapping[str, Json]] | UnsetType = UNSET
    not_started: Json = UNSET


class Case(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Run of a flow.

    Attributes:
        flow: Its document, or a list of its revisions, of which the last is the current one.
        flows: Further flows of the account, by name.
    """

    rule: str
    flow: str | Sequence[str]
    flows: Mapping[str, str | Sequence[str]] = {}
    config: Mapping[str, Json] = {}
    secrets: Mapping[str, str] = {}
    input: Mapping[str, Json] = {}
    mocks: Mapping[str, Json] = {}
    http: Mapping[str, Json] = {}
    then: Sequence[Mapping[str, Json]] = ()
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    case: Case


def cases_of(path: Path, root: Path = RULES) -> Iterator[Found]:
    """Yield the cases of a file: one, or one for each entry of `cases` with its changes.

    Raises:
        ValueError: If the file is not a case.
    """
    name = path.relative_to(root).with_suffix("").as_posix()
    written: Json = read_yaml(path.read_text(encoding="utf-8")).value
    variants = written.pop("cases", None)
    if variants is None:
        yield Found(name, _case(name, written))
        return
    for key, changes in variants.items():
        whole = f"{name} [{key}]"
        yield Found(whole, _case(whole, {**written, **changes}))


def all_cases(root: Path = RULES) -> Iterator[Found]:
    for path in sorted(root.rglob("*.yaml")):
        yield from cases_of(path, root)


def _case(name: str, written: Json) -> Case:
    try:
        return msgspec.convert(written, Case)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from None
