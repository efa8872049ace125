"""Operations on the installation: node types, pause, keys, the first admin, and the audit log."""

from collections.abc import Sequence
from typing import Any, Literal

from flowrunner.client.answers import Answer
from flowrunner.client.calls import Call, Listing, call, listing
from flowrunner.client.models import (
    Account,
    AuditEntry,
    NodeTypeList,
    Pause,
    Rotation,
    SetupState,
    StartedRotations,
    System,
)
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import key_or_new, request


class Installation(Group[K]):
    """The installation that a server belongs to."""

    @operation("getSystem")
    def system(self) -> Call[System]:
        """Return the version and the pause; for admins also the parts, queue and size."""
        return call(System, "GET", "/system")

    @operation("listNodeTypes")
    def node_types(self) -> Call[NodeTypeList]:
        """Return the node types of the server, by name."""
        return call(NodeTypeList, "GET", "/node-types")

    @operation("getFlowSchema")
    def flow_schema(self) -> Call[dict[str, Any]]:
        """Return the JSON Schema of flow documents, with the parameters of the server's node types."""
        return Call(request=request("GET", "/schemas/flow"), decode=Answer.object)

    @operation("getPause")
    def pause(self) -> Call[Pause]:
        """Return whether the installation is paused, for admins."""
        return call(Pause, "GET", "/admin/pause")

    @operation("setPause")
    def set_pause(self, *, paused: bool) -> Call[Pause]:
        """Let no further execution start, or let them start again, for admins."""
        return call(Pause, "PUT", "/admin/pause", body={"paused": paused})

    @operation("rotateKeys")
    def rotate_keys(
        self, kinds: Sequence[Literal["master", "data", "signing"]], *, idempotency_key: str | None = None
    ) -> Call[StartedRotations]:
        """Replace keys in the background, for admins."""
        return call(StartedRotations, "POST", "/keys/rotations", body={"kinds": kinds}, key=key_or_new(idempotency_key))

    @list_operation("listRotations")
    def rotations(self) -> Listing[Rotation]:
        """List key rotations, the newest first, for admins."""
        return listing("/keys/rotations", Rotation)

    @operation("getSetup")
    def setup_state(self) -> Call[SetupState]:
        """Return whether there is an account already."""
        return call(SetupState, "GET", "/setup")

    @operation("setup")
    def set_up(self, token: str, *, name: str, email: str, password: str) -> Call[Account]:
        """Create the first admin, with the token that the server printed at its first start."""
        body = {"token": token, "name": name, "email": email, "password": password}
        return call(Account, "POST", "/setup", body=body)

    @list_operation("listEntries")
    def audit(
        self,
        *,
        actor: str | None = None,
        workspace_id: str | None = None,
        action: str | None = None,
        object_kind: str | None = None,
        object_id: str | None = None,
        outcome: Literal["done", "failed", "denied"] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Listing[AuditEntry]:
        """List the entries of the audit log, the newest first, for admins."""
        return listing(
            "/audit", AuditEntry, actor=actor, workspace_id=workspace_id, action=action, object_kind=object_kind,
            object_id=object_id, outcome=outcome, since=since, until=until,
        )  # fmt: skip
