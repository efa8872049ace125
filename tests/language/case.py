"""The cases of the kit, read from their files. README.md says what each key means."""

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
    """What must be seen; what is not named may be anything.

    Attributes:
        executions: Of further executions: by the name a step gave them, or by their flow's name.
        absent: Texts that nothing stored or sent may hold.
        takes: Time between start and end on the clock of the test, in the words of flows.
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
    """One play of a flow.

    Attributes:
        flow: Its document; several are its revisions, the last of them the present one.
        flows: Further flows of the account, by name.
    """

    rule: str
    flow: str | Sequence[str]
    flows: Mapping[str, str | Sequence[str]] = {}
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
    """The cases of a file: one, or one for each entry of `cases`, which says what it has different.

    Raises:
        ValueError: If the file is no case.
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
