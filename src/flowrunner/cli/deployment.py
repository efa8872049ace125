"""Deployment of a directory of flows, by their names."""

import json
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import click

from flowrunner.cli.common import CommandFailed, ask, common, say, warn
from flowrunner.cli.connection import connect
from flowrunner.cli.documents import says_skipped
from flowrunner.cli.exits import FAILED, INVALID
from flowrunner.cli.faults import ValidationReport, print_text
from flowrunner.cli.flow_files import FlowFile, SkippedFile, read_flow_files, unwritable, write_flow_file
from flowrunner.cli.output import print_text as print_lines
from flowrunner.cli.output import show
from flowrunner.client import Client, ServerUnreachable, UnreadableAnswer, ValidationError
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Fault
from flowrunner.domain.flow_names import composed

# The bounds of a request, with room for the rest of its body.
_MOST_FLOWS: Final = 500
_MOST_BYTES: Final = 15 * 1024 * 1024
_WORDS: Final = {"create": "created", "update": "changed", "none": "unchanged", "delete": "pruned"}
# The path of a fault of one of the flows of a request.
_OF_A_FLOW: Final = re.compile(r"flows\.([0-9]{1,4})\.")
_LARGEST_ARCHIVE_BYTES: Final = 1024 * 1024 * 1024
# What the library raises for archives that are damaged or encrypted.
_UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, ValueError)
# Other methods, which no server uses, raise other errors, and one of them takes as much memory as an archive says.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def apply(places: Sequence[str], *, prune: bool, dry_run: bool, yes: bool) -> None:
    """Create, change and prune flows, and print what was done."""
    files, skipped = _read(places, prune=prune)
    client = connect()
    extra = _without_file(client, files, skipped) if prune else []
    if extra and not dry_run:
        # Asked before anything is saved: a refusal changes nothing.
        names = ", ".join(f"'{flow['name']}'" for flow in extra[:10]) + (", …" if len(extra) > 10 else "")
        ask(f"Delete {counted(len(extra), 'flow')} without a file: {names}?", yes=yes)
    done = _deploy(client, files, extra, dry_run=dry_run)
    _report([*done, *_pruned(extra)], files, len(skipped), dry_run=dry_run)


def diff(places: Sequence[str], *, prune: bool, exit_code: bool) -> None:
    """Print what `apply` would change. Exits with 1 if that is something, and the caller asks for it."""
    files, skipped = _read(places, prune=prune)
    client = connect()
    extra = _without_file(client, files, skipped) if prune else []
    done = [*_deploy(client, files, extra, dry_run=True), *_pruned(extra)]
    if common().is_for_people:
        for flow in done:
            if flow["action"] != "none":
                print_lines("".join(_difference(flow)).removesuffix("\n"))
        _summarize(done, len(skipped), dry_run=True)
    else:
        _report(done, files, len(skipped), dry_run=True)
    if exit_code and any(flow["action"] != "none" for flow in done):
        raise click.exceptions.Exit(FAILED)


def export(directory: Path) -> None:
    """Write the document of each flow into a file below a directory."""
    client = connect()
    archive = client.request("GET", "/flows/export", headers={"Accept": "*/*"}).body
    rows = []
    try:
        documents = _documents_in(archive)
    except _UNREADABLE:
        raise UnreadableAnswer("The answer is not an archive of flows") from None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from None
    for name, document in documents:
        is_new = write_flow_file(directory, name, document)
        rows.append({"name": name, "action": "written" if is_new else "unchanged"})
    _show_rows(rows, "name action")
    written = sum(row["action"] == "written" for row in rows)
    say(f"{counted(len(rows), 'flow')} in {directory}: {written} written, {len(rows) - written} unchanged")
    _warn_of_letter_case([row["name"] for row in rows])


def _documents_in(archive: bytes) -> list[tuple[str, bytes]]:
    """Return the flows in an archive by name. Raises: those of `_UNREADABLE`."""
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        if any(entry.compress_type not in _METHODS for entry in opened.infolist()):
            raise zipfile.BadZipFile("Compressed in another way")
        if sum(entry.file_size for entry in opened.infolist()) > _LARGEST_ARCHIVE_BYTES:
            raise CommandFailed("The archive of the flows is too large", FAILED)
        return [(unquote(entry.filename.removesuffix(".yaml")), opened.read(entry)) for entry in opened.infolist()]


def _warn_of_letter_case(flows: Iterable[str]) -> None:
    """Warn about flows whose files are one file where file systems ignore the case of letters."""
    alike: dict[str, list[str]] = {}
    for name in flows:
        alike.setdefault(name.casefold(), []).append(f"'{name}'")
    for same in alike.values():
        if len(same) > 1:
            names = " and ".join(same)
            warn(f"the files of {names} differ only by case: a file system that ignores it keeps one of them")


def _read(places: Sequence[str], *, prune: bool) -> tuple[Sequence[FlowFile], Sequence[SkippedFile]]:
    if prune and not all(Path(place).is_dir() for place in places):
        raise click.UsageError("--prune deletes what a directory does not have: name directories only")
    return read_flow_files(places)


def _deploy(
    client: Client, files: Sequence[FlowFile], extra: Sequence[Mapping[str, Any]], *, dry_run: bool
) -> list[dict[str, Any]]:
    """Save the files, and delete the other flows. What one request does is done together or not at all."""
    portions, ids = list(_portions(files)), [flow["id"] for flow in extra]
    deletions = [ids[start : start + _MOST_FLOWS] for start in range(0, len(ids), _MOST_FLOWS)]
    if len(portions) > 1 or dry_run:
        # Nothing is saved if a file of a later request has faults. Flows that are deleted by then are not in the way.
        done = [flow for portion in portions for flow in _save(client, portion, ids[:_MOST_FLOWS], dry_run=True)]
    if not dry_run:
        done = []
        for portion, deleted in zip_longest(portions, deletions, fillvalue=()):
            done += _save(client, portion, deleted, dry_run=False)
    names = {composed(file.name) for file in files}
    for flow in done if len(portions) > 1 else ():
        # A request knows its own flows alone.
        flow["missing_flows"] = [name for name in flow.get("missing_flows", ()) if composed(name) not in names]
    return done


def _portions(files: Sequence[FlowFile]) -> Iterator[Sequence[FlowFile]]:
    portion: list[FlowFile] = []
    size = 0
    for file in files:
        needed = len(json.dumps({"name": file.name, "definition": file.definition}, ensure_ascii=False).encode()) + 1
        if portion and (len(portion) == _MOST_FLOWS or size + needed > _MOST_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(file)
        size += needed
    yield portion


def _save(client: Client, files: Sequence[FlowFile], delete: Sequence[str], *, dry_run: bool) -> list[dict[str, Any]]:
    """Send one request. Raises: CommandFailed: A document has faults, which are printed."""
    try:
        return _send(client, files, delete, dry_run=dry_run)
    except ServerUnreachable as error:
        if not error.was_sent:
            raise
        # What was saved already is the same then, and stays as it is.
        return _send(client, files, delete, dry_run=dry_run)
    except ValidationError as error:
        if not (reports := list(_faults(error, files))):
            raise
        print_text(reports, colour=False, err=True)
        raise CommandFailed("Nothing was changed: correct these faults first", INVALID) from None


def _send(client: Client, files: Sequence[FlowFile], delete: Sequence[str], *, dry_run: bool) -> list[dict[str, Any]]:
    body: dict[str, Any] = {"flows": [{"name": file.name, "definition": file.definition} for file in files]}
    if delete:
        body["delete"] = delete
    query = {"dry_run": dry_run or None}
    return list(client.request("POST", "/flows:batch", query=query, json=body).object()["flows"])


def _faults(error: ValidationError, files: Sequence[FlowFile]) -> Iterator[ValidationReport]:
    """Yield the faults by file, as `flowrunner validate` prints them."""
    for file in files:
        faults = [
            Fault(
                path=_OF_A_FLOW.sub("", str(fault.get("path", ""))), message=str(fault.get("message")),
                line=fault.get("line"), column=fault.get("column"), code=fault.get("code", ""), hint=fault.get("hint"),
            )
            for fault in error.errors
            if _flow_of(fault, files) == file.name
        ]  # fmt: skip
        if faults:
            yield ValidationReport(file.file, faults)


def _flow_of(fault: Mapping[str, Any], files: Sequence[FlowFile]) -> str | None:
    """Return the flow that a fault is of: it is named, or by its place in the request."""
    place = _OF_A_FLOW.match(str(fault.get("path", "")))
    number = len(files) if place is None else int(place[1])
    return files[number].name if number < len(files) else fault.get("flow")


def _without_file(client: Client, files: Sequence[FlowFile], skipped: Sequence[SkippedFile]) -> list[Mapping[str, Any]]:
    """Return the flows of the workspace that no file has.

    Raises: CommandFailed: One of them has a file without nodes, such as one in which the key is misspelt.
    """
    # The server saves a name in one form, and keeps those that it has in another one.
    kept = {form for file in files for form in (file.name, composed(file.name))}
    extra: list[Mapping[str, Any]] = [flow for flow in client.entries("/flows") if flow["name"] not in kept]
    without_nodes = {form: file.file for file in skipped for form in (file.name, composed(file.name))}
    for name, file in sorted(without_nodes.items(), key=lambda item: item[1]):
        if any(flow["name"] == name for flow in extra):
            raise CommandFailed(
                f"{file} has no 'nodes', and pruning would delete its flow '{name}': correct the file, "
                "or delete it, too",
                INVALID,
            )
    return extra


def _pruned(flows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": flow["id"], "name": flow["name"], "action": "delete"} for flow in flows]


def _report(done: Sequence[Mapping[str, Any]], files: Sequence[FlowFile], skipped: int, *, dry_run: bool) -> None:
    places = {form: file.file for file in files for form in (file.name, composed(file.name))}
    rows = [
        {
            "name": flow["name"],
            "action": _WORDS[flow["action"]],
            "id": flow["id"] or None,
            "revision": flow.get("revision"),
            "file": places.get(flow["name"]),
            "missing_secrets": flow.get("missing_secrets", []),
            "missing_config": flow.get("missing_config", []),
            "missing_flows": flow.get("missing_flows", []),
            **({"plan": flow["plan"]} if "plan" in flow else {}),
        }
        for flow in done
    ]
    if common().output in ("json", "yaml") or common().query is not None:
        counts = Counter(row["action"] for row in rows)
        show({"dry_run": dry_run, **{word: counts[word] for word in _WORDS.values()}, "flows": rows})
    else:
        _show_rows(rows, "name action revision file")
    _summarize(done, skipped, dry_run=dry_run)


def _show_rows(rows: Sequence[Mapping[str, Any]], columns: str) -> None:
    """Print rows; a table leaves out what stayed as it was."""
    is_table = common().output in (None, "table") and common().query is None
    shown = [row for row in rows if row["action"] != "unchanged"] if is_table else rows
    if shown or not is_table:
        show(shown, columns, name="name")


def _summarize(done: Sequence[Mapping[str, Any]], skipped: int, *, dry_run: bool) -> None:
    """Print the numbers, and the secrets, values and flows that are missing, for people."""
    counts = Counter(flow["action"] for flow in done)
    numbers = ", ".join(f"{counts[action]} {word}" for action, word in _WORDS.items() if counts[action])
    dry = " (dry run: nothing was changed)" if dry_run else ""
    say(f"{counted(len(done), 'flow')}: {numbers}{dry}{says_skipped(skipped)}")
    _warn_of_missing(done, "missing_secrets", "secret", "read")
    _warn_of_missing(done, "missing_config", "configuration value", "read")
    _warn_of_missing(done, "missing_flows", "flow", "name")


def _warn_of_missing(done: Sequence[Mapping[str, Any]], field: str, kind: str, verb: str) -> None:
    """Warn about each secret, value or flow that is missing, with the flows that need it."""
    needed: dict[str, list[str]] = {}
    for flow in done:
        for missing in flow.get(field, ()):
            needed.setdefault(missing, []).append(f"'{flow['name']}'")
    for missing, names in sorted(needed.items()):
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warn(f"there is no {kind} '{missing}', which {', '.join(names[:5])}{more} {verb}{'s' * (len(names) == 1)}")


def _difference(flow: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {flow['name']}: {_WORDS[flow['action']]}\n"
    plan = flow.get("plan", {})
    if plan.get("diff"):
        yield plan["diff"]
    if plan.get("is_truncated"):
        yield "# the rest is too long to show\n"
