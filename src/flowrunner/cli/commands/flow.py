"""Command `flow`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowrunner.cli.commands.run import run
from flowrunner.cli.common import ask, common, dry_run_option, say, say_message, warn, yes_option
from flowrunner.cli.completion import complete_flows, complete_workspaces
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import flow_id, flow_path
from flowrunner.cli.numbers import WholeNumber
from flowrunner.cli.output import print_bytes, print_text, show, shown
from flowrunner.cli.server_command import ServerGroup
from flowrunner.cli.shared_options import given_fields

if TYPE_CHECKING:
    from flowrunner.client import Client

flow_argument = click.argument("flow", shell_complete=complete_flows)


@click.group(cls=ServerGroup, epilog=examples("flow list --tag orders", "flow create order.yaml"))
def flow() -> None:
    """Manage flows. FLOW is a name, an id, or the beginning of an id."""


flow.add_command(run)


@flow.command("list", short_help="List flows.", epilog=examples("flow list --tag orders"))
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="With this tag; repeat to require several.")
@click.option("--search", "q", metavar="TEXT", help="With this text in the name or the description.")
@limit_option
def list_(tags: tuple[str, ...], q: str | None, limit: Limit) -> None:
    """List flows, in the order of their creation."""
    show_list(
        connect(),
        "/flows",
        "id name revision updated_at tags disabled",
        query={"tag": list(tags), "q": q},
        limit=limit,
        empty="There are no such flows: 'flowrunner flow create FILE' creates one, in the workspace of --workspace",
    )


@flow.command(short_help="Print a flow.", epilog=examples("flow get order-sync", "flow get order-sync --definition"))
@flow_argument
@click.option("--definition", is_flag=True, help="Print the document alone.")
@click.option("--revision", type=WholeNumber(1), metavar="NUMBER", help="An earlier revision.")
def get(flow: str, revision: int | None, *, definition: bool) -> None:
    """Print a flow. Its document is in the JSON, or alone with --definition."""
    found = _found(connect(), flow, revision)
    if definition:
        print_text(found["definition"].removesuffix("\n"))
        return
    if common().is_for_people:
        del found["definition"]
    show(found, name="id" if revision is None else "number")


@flow.command(
    short_help="Print the document of a flow.",
    epilog=examples("flow export order-sync > order.yaml", "flow export order-sync -f order.yaml"),
)
@flow_argument
@click.option("-f", "--file", type=click.Path(dir_okay=False, path_type=Path), help="Write it into this file.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--revision", type=WholeNumber(1), metavar="NUMBER", help="An earlier revision.")
def export(flow: str, file: Path | None, revision: int | None, *, force: bool) -> None:
    """Print the document of a flow as it was saved, or write it into a file."""
    document = _found(connect(), flow, revision)["definition"].encode()
    if file is None:
        print_bytes(document)
        return
    from flowrunner.cli.flow_files import write_new_file

    write_new_file(file, document, replaces=force)


@flow.command(short_help="Create a flow.", epilog=examples("flow create order.yaml", "flow create - < order.yaml"))
@click.argument("document", metavar="FILE", required=False)
@click.option("--file", metavar="FILE", help="Same as the argument.")
@click.option("--name", help="A name other than the document's.")
@click.option("--description", help="Another description.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Other tags.")
@dry_run_option("Create nothing, and print what would be created.")
def create(document: str | None, file: str | None, *, dry_run: bool, **fields: Any) -> None:
    """Create a flow from a document; - is the standard input."""
    client = connect()
    body = {"definition": _document(document, file, is_required=True), **_given(fields)}
    query = {"dry_run": True} if dry_run else None
    created = client.request("POST", "/flows", json=body, query=query, idempotency_key=not dry_run).object()
    if others := created.get("same_name"):
        text = f"there is another flow called '{created['name']}': {others[0]}"
        warn(f"{text}; 'flowrunner flow update' changes a flow, 'apply' by its name")
    if dry_run:
        show({"name": created["name"], **created["plan"]}, name="name")
    else:
        show(created)
    _warn_of_what_is_missing(client, lambda: body["definition"])


@flow.command(
    short_help="Change a flow.",
    epilog=examples("flow update order-sync order.yaml", "flow update order-sync --disable"),
)
@flow_argument
@click.argument("document", metavar="[FILE]", required=False)
@click.option("--file", metavar="FILE", help="Same as the argument.")
@click.option("--name", help="A new name.")
@click.option("--description", help="A new description.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="New tags; they replace the present ones.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether it starts executions.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and print the diff.")
def update(flow: str, document: str | None, file: str | None, *, dry_run: bool, **fields: Any) -> None:
    """Change a flow: its document, its name, or whether it starts executions."""
    client, body = connect(), _given(fields)
    if (text := _document(document, file, is_required=not body)) is not None:
        body["definition"] = text
    path, query = flow_path(client, flow), {"dry_run": True} if dry_run else None
    before = client.get(path) if dry_run else {}
    answer = client.request("PUT", path, json=body, query=query).object()
    if dry_run:
        show({**answer["plan"], **_changes(before, answer)}, name="action")
    else:
        show(answer)
    if (
        text is not None
        and not dry_run
        and not flow.startswith("flow-")
        and answer["name"] not in (flow, body.get("name"))
    ):
        warn(f"the document has another name: the flow '{flow}' is now called '{answer['name']}'")
    if text is not None:
        _warn_of_what_is_missing(client, lambda: text)


@flow.command(
    short_help="Delete a flow.", epilog=examples("flow delete order-sync --dry-run", "flow delete order-sync")
)
@flow_argument
@dry_run_option("Only print what would be deleted.")
@yes_option
def delete(flow: str, *, dry_run: bool, yes: bool) -> None:
    """Delete a flow. Executions that have not ended go on, and its history stays readable."""
    client = connect()
    id = flow_id(client, flow)
    if dry_run:
        say_message(client.request("DELETE", f"/flows/{id}", query={"dry_run": True}))
        show(_deletion(client, id))
        return
    ask(f"Delete the flow '{flow}' ({id})?", yes=yes)
    say_message(client.request("DELETE", f"/flows/{id}"))


@flow.command(short_help="List the revisions of a flow.", epilog=examples("flow revisions order-sync"))
@flow_argument
@limit_option
def revisions(flow: str, limit: Limit) -> None:
    """List the revisions of a flow, newest first."""
    client = connect()
    path = f"{flow_path(client, flow)}/revisions"
    show_list(client, path, "number is_current:CURRENT version created_at created_by size", limit=limit, name="number")


@flow.command(
    short_help="Compare a flow with a file, or revisions.",
    epilog=examples("flow diff order-sync order.yaml", "flow diff order-sync --revision 7 --against 5"),
)
@flow_argument
@click.argument("document", metavar="[FILE]", required=False)
@click.option(
    "--revision",
    type=WholeNumber(1),
    metavar="NUMBER",
    help="This revision instead of a file; the current one by default.",
)
@click.option(
    "--against",
    type=WholeNumber(1),
    metavar="NUMBER",
    help="The revision to compare with; the previous one by default.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference.")
def diff(flow: str, document: str | None, revision: int | None, against: int | None, *, exit_code: bool) -> None:
    """Print what a file would change, or what a revision changed."""
    if document is not None and (revision or against):
        raise click.UsageError("Compare with a file, or compare revisions: one of the two.")
    client = connect()
    path = flow_path(client, flow)
    if document is not None:
        body = {"definition": _document(document, None, is_required=True)}
        found = client.request("PUT", path, json=body, query={"dry_run": True}).object()["plan"]
    else:
        number = revision or client.get(path)["revision"]
        found = client.get(f"{path}/revisions/{number}/diff", against=against)
    if common().is_for_people:
        if text := found.get("diff", "").removesuffix("\n"):
            print_text(text)
        else:
            say("There is no difference")
        if found.get("is_truncated"):
            warn("the rest of the difference is too long to show")
    else:
        show(found, name="number" if "number" in found else "action")
    if exit_code and found.get("diff"):
        sys.exit(FAILED)


@flow.command(short_help="Save an earlier revision again.", epilog=examples("flow restore order-sync 5"))
@flow_argument
@click.argument("revision", type=WholeNumber(1))
@yes_option
def restore(flow: str, revision: int, *, yes: bool) -> None:
    """Save the document of an earlier revision again, as a new revision."""
    client = connect()
    path = flow_path(client, flow)
    ask(f"Replace the document of '{flow}' by that of revision {revision}?", yes=yes)
    show(client.request("POST", f"{path}/revisions/{revision}/restore", idempotency_key=True).object())


@flow.command(short_help="Move a flow to another workspace.", epilog=examples("flow move order-sync data-team"))
@flow_argument
@click.argument("workspace", shell_complete=complete_workspaces)
@yes_option
def move(flow: str, workspace: str, *, yes: bool) -> None:
    """Move a flow with its revisions and executions to another workspace. Secrets and configuration values stay."""
    client = connect()
    path = flow_path(client, flow)
    ask(f"Move the flow '{flow}' with all its executions to '{workspace}'?", yes=yes)
    moved = client.request("POST", f"{path}/move", json={"workspace": workspace}).object()
    if moved["missing_secrets"]:
        warn(f"its new workspace lacks the secrets {', '.join(moved['missing_secrets'])}")
    # An earlier server does not know them.
    if missing := moved.get("missing_config"):
        warn(f"its new workspace lacks the configuration values {', '.join(missing)}")
    show(moved, "flow.id flow.name workspace_id missing_secrets", name="workspace_id")


@flow.command(short_help="Copy a flow.", epilog=examples("flow copy order-sync --to data-team"))
@flow_argument
@click.option("--to", metavar="WORKSPACE", help="Another workspace.", shell_complete=complete_workspaces)
@click.option("--name", help="Name of the copy.")
def copy(flow: str, to: str | None, name: str | None) -> None:
    """Save the document of a flow as a new flow."""
    client = connect()
    body = given_fields(workspace=to, name=name)
    path = flow_path(client, flow)
    show(client.request("POST", f"{path}/copy", json=body, idempotency_key=True).object())
    if to is not None:
        _warn_of_what_is_missing(client, lambda: client.get(path)["definition"], workspace=to)


def _deletion(client: "Client", id: str) -> dict[str, Any]:
    """Return what a deletion of a flow takes away, and what goes on without it."""
    found = client.get(f"/flows/{id}")
    triggers = client.entries("/triggers", query={"flow_id": id})
    open_executions = client.get("/executions", flow_id=id, status="running,waiting", limit=1)["total"]
    return {
        "action": "delete",
        **{field: found[field] for field in ("id", "name", "revision")},
        "triggers": [trigger["name"] for trigger in triggers],
        "open_executions": open_executions,
    }


def _found(client: "Client", flow: str, revision: int | None) -> dict[str, Any]:
    path = flow_path(client, flow)
    found: dict[str, Any] = client.get(path if revision is None else f"{path}/revisions/{revision}")
    return found


def _warn_of_what_is_missing(client: "Client", definition: Callable[[], str], *, workspace: str | None = None) -> None:
    """Print the warnings about a saved document that `validate` cannot know without the server and the time.

    Args:
        workspace: The one of the flow, if it is not that of the client.
    """
    from flowrunner.client import ClientError

    headers = None if workspace is None else {"Flowrunner-Workspace": workspace}
    try:
        validation = client.request(
            "POST", "/flows/validate", json={"definition": definition()}, headers=headers
        ).object()
    except ClientError:
        # The flow is saved all the same.
        return
    for fault in validation.get("warnings", ()):
        if fault["code"] == "secret.unknown":
            warn(f"{fault['message']}, which the flow reads: 'flowrunner secret set NAME' creates it")
        elif fault["code"] == "config.unknown":
            warn(f"{fault['message']}, which the flow reads: 'flowrunner value set NAME VALUE' creates it")
        elif fault["code"] in ("flow.unknown", "trigger.past"):
            warn(f"{fault['path']}: {fault['message']}; {fault['hint']}")


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what a change does to each field beside the document: both values, or a line about them for people."""
    pairs = {name: (before.get(name), after.get(name)) for name in ("name", "description", "tags", "disabled")}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if common().is_for_people:
        return {name: " -> ".join(map(shown, pair)) for name, pair in changed.items()}
    return {name: {"from": old, "to": new} for name, (old, new) in changed.items()}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if name == "tags" else value for name, value in fields.items() if value not in (None, ())}


def _document(argument: str | None, option: str | None, *, is_required: bool) -> str | None:
    from flowrunner.cli.documents import STDIN, is_directory, read_documents

    if argument is not None and option is not None:
        raise click.UsageError("Name one file: as the argument, or with --file.")
    name = option if argument is None else argument
    if name is None:
        if is_required:
            raise click.UsageError("Name a file, or - for the standard input.")
        return None
    if name != STDIN and is_directory(name):
        raise click.UsageError(
            f"{name} is a directory: name a file, or deploy all of its flows: flowrunner apply {name}"
        )
    [document], _ = read_documents([name])
    if document.text is None:
        raise click.UsageError(f"{document.file} is not UTF-8 text: save it as UTF-8")
    return document.text
