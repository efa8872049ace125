"""Operations on flows and their revisions."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flowrunner.client.calls import Call, Listing, call, listing
from flowrunner.client.models import (
    DeployedFlows,
    Difference,
    Flow,
    FlowDetail,
    FlowGraph,
    FlowTests,
    Message,
    Move,
    Retention,
    Revision,
    RevisionDetail,
    Sketch,
    StartedExecution,
    Trial,
    Validation,
)
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import key_or_new, request, segment

# The server may run the tests of a flow, or a node, for so long.
_TESTS_SECONDS = 30.0
_TRIAL_SECONDS = 60.0


class Flows(Group[K]):
    """Flows. A `definition` is a flow document, as YAML."""

    @list_operation("listFlows")
    def list(
        self,
        *,
        name: str | None = None,
        q: str | None = None,
        tag: Sequence[str] | None = None,
        sort: Literal["created_at", "-created_at", "name", "-name", "updated_at", "-updated_at"] | None = None,
    ) -> Listing[Flow]:
        """List flows, the oldest first unless `sort` says otherwise, without their definitions.

        Args:
            q: A text in the name or the description.
            tag: Only flows with all of these tags.
            sort: The order, which `-` reverses.
        """
        return listing("/flows", Flow, name=name, q=q, tag=tag, sort=sort)

    @operation("getFlow")
    def get(self, id: str) -> Call[FlowDetail]:
        """Return a flow with its definition."""
        return call(FlowDetail, "GET", f"/flows/{segment(id)}")

    @operation("getFlowByName")
    def get_by_name(self, name: str) -> Call[FlowDetail]:
        """Return the flow with this name, with its definition."""
        return call(FlowDetail, "GET", _by_name(name))

    @operation("createFlow")
    def create(
        self,
        definition: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Flow]:
        """Save a new flow. What is not given is taken from the metadata of the definition."""
        body = {"definition": definition, "name": name, "description": description, "tags": tags}
        return call(Flow, "POST", "/flows", query={"dry_run": dry_run}, body=body, key=key_or_new(idempotency_key))

    @operation("updateFlow")
    def update(
        self,
        id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        definition: str | None = None,
        tags: Sequence[str] | None = None,
        disabled: bool | None = None,
        dry_run: bool | None = None,
        if_match: str | None = None,
    ) -> Call[Flow]:
        """Change what is given of a flow.

        Args:
            if_match: The `etag` of the flow as it was read: of one that has changed since, nothing is changed.
        """
        body = {"name": name, "description": description, "definition": definition, "tags": tags, "disabled": disabled}
        headers = {"If-Match": if_match}
        return call(Flow, "PUT", f"/flows/{segment(id)}", query={"dry_run": dry_run}, body=body, headers=headers)

    @operation("putFlowByName")
    def put_by_name(
        self,
        name: str,
        *,
        description: str | None = None,
        definition: str | None = None,
        tags: Sequence[str] | None = None,
        disabled: bool | None = None,
        dry_run: bool | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Call[Flow]:
        """Create the flow with this name, or change it. A flow that already has all of the changes stays as it is.

        Args:
            if_none_match: `*` creates the flow, or fails if there is one.
        """
        body = {"description": description, "definition": definition, "tags": tags, "disabled": disabled}
        headers = {"If-Match": if_match, "If-None-Match": if_none_match}
        return call(Flow, "PUT", _by_name(name), query={"dry_run": dry_run}, body=body, headers=headers)

    @operation("deleteFlow")
    def delete(self, id: str, *, dry_run: bool | None = None, if_match: str | None = None) -> Call[Message]:
        """Delete a flow. Open executions continue, and the history stays readable."""
        headers = {"If-Match": if_match}
        return call(Message, "DELETE", f"/flows/{segment(id)}", query={"dry_run": dry_run}, headers=headers)

    @operation("getFlowRetention")
    def retention(self, id: str) -> Call[Retention]:
        """Return how long ended executions of a flow are kept."""
        return call(Retention, "GET", f"/flows/{segment(id)}/retention")

    @operation("setFlowRetention")
    def set_retention(
        self,
        id: str,
        *,
        max_age_seconds: int | None = None,
        max_count: int | None = None,
        dry_run: bool | None = None,
    ) -> Call[Retention]:
        """Replace the rule of a flow; what is left out holds as for its workspace."""
        body = {"max_age_seconds": max_age_seconds, "max_count": max_count}
        return call(Retention, "PUT", f"/flows/{segment(id)}/retention", query={"dry_run": dry_run}, body=body)

    @operation("saveFlows")
    def save(
        self,
        flows: Sequence[Mapping[str, str]],
        *,
        delete: Sequence[str] | None = None,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Call[DeployedFlows]:
        """Create or change many flows, and delete others, in one transaction: all of it, or nothing.

        Args:
            flows: At most 500, each with its `name` and `definition`.
            delete: Ids of at most 500 flows to delete.
        """
        body = {"flows": flows} | ({} if delete is None else {"delete": delete})
        query, key = {"dry_run": dry_run}, key_or_new(idempotency_key)
        return call(DeployedFlows, "POST", "/flows:batch", query=query, body=body, key=key)

    @operation("exportFlows")
    def export(self) -> Call[bytes]:
        """Return the documents of all flows of the workspace, as a zip archive."""
        return Call(request=request("GET", "/flows/export", headers={"Accept": "*/*"}), decode=lambda got: got.body)

    @operation("importFlows")
    def import_archive(
        self, archive: bytes, *, dry_run: bool | None = None, idempotency_key: str | None = None
    ) -> Call[DeployedFlows]:
        """Create or change the flow of each file in an archive as `export` returns it: all of them, or none."""
        made = request(
            "POST", "/flows/import", query={"dry_run": dry_run}, content=archive, content_type="application/zip",
            idempotency_key=key_or_new(idempotency_key),
        )  # fmt: skip
        return Call(request=made, decode=lambda got: DeployedFlows.of(got.object()))

    @operation("moveFlow")
    def move(self, id: str, workspace: str, *, dry_run: bool | None = None) -> Call[Move]:
        """Move a flow with its revisions and executions to another workspace. Secrets are not moved."""
        path, body = f"/flows/{segment(id)}/move", {"workspace": workspace}
        return call(Move, "POST", path, query={"dry_run": dry_run}, body=body)

    @operation("copyFlow")
    def copy(
        self,
        id: str,
        *,
        workspace: str | None = None,
        name: str | None = None,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Flow]:
        """Save the current definition as a new flow, in the same or in another workspace."""
        body, key = {"workspace": workspace, "name": name}, key_or_new(idempotency_key)
        return call(Flow, "POST", f"/flows/{segment(id)}/copy", query={"dry_run": dry_run}, body=body, key=key)

    @operation("runFlow")
    def run(
        self,
        id: str,
        input: Any = None,
        *,
        labels: Mapping[str, str] | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Call[StartedExecution]:
        """Start an execution. `Client.run` does the same by name or id, and waits for it.

        Args:
            wait: Seconds, at most 60, for which the server waits for the end.
        """
        path, key = f"/flows/{segment(id)}/run", key_or_new(idempotency_key)
        return call(StartedExecution, "POST", path, body={"input": input, "labels": labels}, key=key, wait=wait)

    @operation("runFlowByName")
    def run_by_name(
        self,
        name: str,
        input: Any = None,
        *,
        labels: Mapping[str, str] | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Call[StartedExecution]:
        """Start an execution of the flow with this name. `Client.run` does the same, and waits for it."""
        path, key = f"{_by_name(name)}/run", key_or_new(idempotency_key)
        return call(StartedExecution, "POST", path, body={"input": input, "labels": labels}, key=key, wait=wait)

    @operation("validateFlow")
    def validate(self, definition: str) -> Call[Validation]:
        """Report all errors and warnings of a definition without saving it."""
        return call(Validation, "POST", "/flows/validate", body={"definition": definition})

    @operation("sketchFlow")
    def graph(self, definition: str) -> Call[Sketch]:
        """Return the nodes and edges of a definition as far as it can be read, and its errors and warnings."""
        return call(Sketch, "POST", "/flows/graph", body={"definition": definition})

    @operation("testFlow")
    def test(self, definition: str) -> Call[FlowTests]:
        """Run the tests of a definition, offline and on a virtual clock."""
        return call(FlowTests, "POST", "/flows/test", body={"definition": definition}, seconds=_TESTS_SECONDS)

    @operation("tryNode")
    def try_node(
        self,
        definition: str,
        node: str,
        *,
        input: Any = None,
        flow_input: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
        vars: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        item: Any = None,
        index: int | None = None,
    ) -> Call[Trial]:
        """Run one attempt of a node of a definition that is not saved. Its effects are real."""
        body = {
            "definition": definition, "node": node, "input": input, "flow_input": flow_input, "results": results,
            "vars": vars, "error": error, "item": item, "index": index,
        }  # fmt: skip
        return call(Trial, "POST", "/nodes/try", body=body, seconds=_TRIAL_SECONDS)

    @operation("getFlowGraph")
    def saved_graph(self, id: str) -> Call[FlowGraph]:
        """Return the nodes and edges of a flow as it is saved, and its graph as a Mermaid flowchart."""
        return call(FlowGraph, "GET", f"/flows/{segment(id)}/graph")

    @operation("getFlowGraph")
    def saved_picture(self, id: str) -> Call[bytes]:
        """Return the graph of a flow as it is saved as an SVG document."""
        made = request("GET", f"/flows/{segment(id)}/graph", headers={"Accept": "image/svg+xml"})
        return Call(request=made, decode=lambda got: got.body)

    # Revisions

    @list_operation("listRevisions")
    def revisions(self, id: str) -> Listing[Revision]:
        """List the revisions of a flow, the newest first."""
        return listing(f"/flows/{segment(id)}/revisions", Revision)

    @operation("getRevision")
    def revision(self, id: str, number: int) -> Call[RevisionDetail]:
        """Return a revision of a flow, with its definition."""
        return call(RevisionDetail, "GET", _revision(id, number))

    @operation("deleteRevision")
    def delete_revision(self, id: str, number: int, *, dry_run: bool | None = None) -> Call[Message]:
        """Delete an old revision. Its ended executions stay readable."""
        return call(Message, "DELETE", _revision(id, number), query={"dry_run": dry_run})

    @operation("compareRevisions")
    def compare_revisions(self, id: str, number: int, *, against: int | None = None) -> Call[Difference]:
        """Return the differences between a revision and another one, by default the one before."""
        return call(Difference, "GET", f"{_revision(id, number)}/diff", query={"against": against})

    @operation("restoreRevision")
    def restore_revision(
        self,
        id: str,
        number: int,
        *,
        dry_run: bool | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Flow]:
        """Save an old definition as a new revision."""
        path, headers, key = f"{_revision(id, number)}/restore", {"If-Match": if_match}, key_or_new(idempotency_key)
        return call(Flow, "POST", path, query={"dry_run": dry_run}, headers=headers, key=key)


def _by_name(name: str) -> str:
    return f"/flows/by-name/{segment(name)}"


def _revision(id: str, number: int) -> str:
    return f"/flows/{segment(id)}/revisions/{segment(number)}"
