"""Changes of flows: the fields that a request gives, and the flow that they make of the stored one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import invalid, quoted
from flowrunner.domain.flow import Flow
from flowrunner.domain.flow_names import composed, shows_nothing, unseen_in
from flowrunner.domain.flow_tools import FlowTool, tool_name
from flowrunner.domain.triggers import Trigger, TriggerId
from flowrunner.domain.values import FlowId, RevisionId
from flowrunner.ids import new_id
from flowrunner.language.inputs import tool_schema
from flowrunner.ports.flows import SavedFlow
from flowrunner.services.preconditions import Precondition


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDraft:
    """The fields of a flow to save. Those that are None are taken from the definition.

    Attributes:
        definition: None keeps the stored one.
        disabled: Let the flow start no executions; None keeps it as it is.
        is_whole: The definition is all of the flow: a description or tags that it does not have are removed. Otherwise
            they stay as they are stored.
    """

    definition: str | None = None
    name: str | None = None
    description: str | None = None
    tags: Sequence[str] | None = None
    disabled: bool | None = None
    is_whole: bool = False


class Metadata(NamedTuple):
    """The parts of a definition that are stored beside it, and the secrets, values and flows that it names.

    Attributes:
        config: The configuration values that it names.
        needed: Those of both that it reads without a default, each with `secrets` or `config`.
        calls: The flows that it calls, or whose ends start it, by id or name.
        tool_inputs: The JSON Schema of the input, as JSON, of a flow that agents find as a tool; None for others.
    """

    name: str
    description: str
    version: str
    tags: Sequence[str]
    triggers: Sequence[Trigger]
    secrets: Sequence[str]
    config: Sequence[str]
    needed: Collection[tuple[str, str]]
    calls: Sequence[str]
    tool_inputs: str | None

    @classmethod
    def of(cls, flow: Flow) -> "Metadata":
        inputs = tool_schema(flow.inputs) if flow.is_tool else None
        triggers = tuple(flow.triggers.values())
        return cls(
            flow.name,
            flow.description,
            flow.version,
            flow.tags,
            triggers,
            flow.secrets,
            flow.config,
            flow.needed,
            flow.calls,
            inputs,
        )


MAX_NAME_CHARACTERS: Final = 200


def missing_of(needed: Collection[tuple[str, str]], root: str, known: Collection[str]) -> Sequence[str]:
    return sorted(name for of, name in needed if of == root and name not in known)


def check_precondition(condition: Precondition, flow: SavedFlow | None) -> None:
    """Raises: PreconditionFailed if the stored flow does not meet the condition."""
    if flow is None:
        condition.check(None, "flow")
    else:
        changed = f"The flow has changed since: it is at revision {flow.revision} now"
        condition.check(flow.state, "flow", revision=flow.revision, changed=changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChanger:
    """The flow that a draft makes, in one request.

    Attributes:
        flow: What the draft's definition says; None if it has none.
    """

    caller: Caller
    draft: FlowDraft
    flow: Metadata | None
    at: datetime
    revision_id: RevisionId

    @classmethod
    def of(cls, caller: Caller, draft: FlowDraft, flow: Metadata | None, *, at: datetime) -> "FlowChanger":
        return cls(caller=caller, draft=draft, flow=flow, at=at, revision_id=RevisionId(new_id("rev", at)))

    def missing(self, root: str, known: Collection[str]) -> Sequence[str]:
        """Return the names that the draft's definition reads without a default and that are not in ``known``.

        Args:
            root: `secrets` or `config`.
        """
        return [] if self.flow is None else missing_of(self.flow.needed, root, known)

    @property
    def calls(self) -> Sequence[str]:
        """The flows that the draft's definition names, by id or name."""
        return () if self.flow is None else self.flow.calls

    def named(self, name: str) -> "FlowChanger":
        """Return the changer of the flow with this name. Raises: InvalidInput if the draft says another one."""
        for field, said in (("name", self.draft.name), ("definition", self.flow and self.flow.name)):
            if said and composed(said) != composed(name):
                hint = "give the same name or none; to rename a flow, change it by its id"
                raise invalid(field, f"has the name {quoted(said)}, but the request names {quoted(name)}", hint=hint)
        return replace(self, draft=replace(self.draft, name=name))

    def created(self) -> SavedFlow:
        """Return the new flow. Raises: InvalidInput if it has no definition or no name."""
        draft, flow = self.draft, self.flow
        if draft.definition is None or flow is None:
            raise invalid("definition", "Definition is required", code="required")
        name = _checked_name(draft.name if draft.name is not None else flow.name)
        return SavedFlow(
            id=FlowId(new_id("flow", self.at)),
            name=name,
            description=flow.description if draft.description is None else draft.description,
            version=flow.version,
            tags=flow.tags if draft.tags is None else draft.tags,
            created_at=self.at,
            updated_at=self.at,
            definition=draft.definition,
            revision_id=self.revision_id,
            saved_by=self.caller.account_id,
            disabled_at=self._disabled_at(None),
            triggers=self._armed(flow),
            secret_names=flow.secrets,
            config_names=flow.config,
            tool=_tool_of(name, flow.tool_inputs),
        )

    def _armed(self, flow: Metadata) -> Mapping[TriggerId, Trigger]:
        return {TriggerId(new_id("trig", self.at)): trigger for trigger in flow.triggers}

    def _disabled_at(self, before: datetime | None) -> datetime | None:
        if self.draft.disabled is None:
            return before
        return (before or self.at) if self.draft.disabled else None

    def changed(self, before: SavedFlow) -> SavedFlow:
        """Return the stored flow with the changes. Raises: InvalidInput if it has no name."""
        draft, flow = self.draft, self.flow
        is_new_revision = draft.definition is not None and draft.definition != before.definition
        kept_description, kept_tags = ("", ()) if draft.is_whole else (before.description, before.tags)
        said = draft.name if draft.name is not None else (flow.name if flow else "") or before.name
        name = _checked_name(said, before.name)
        kept_inputs = None if before.tool is None else before.tool.inputs
        return replace(
            before,
            name=name,
            description=(
                draft.description
                if draft.description is not None
                else (flow.description if flow else "") or kept_description
            ),
            version=flow.version if flow else before.version,
            tags=list(draft.tags if draft.tags is not None else (flow.tags if flow else ()) or kept_tags),
            updated_at=self.at,
            definition=draft.definition if draft.definition is not None else before.definition,
            revision_id=self.revision_id if is_new_revision else before.revision_id,
            saved_by=self.caller.account_id if is_new_revision else before.saved_by,
            disabled_at=self._disabled_at(before.disabled_at),
            triggers=self._armed(flow) if flow else None,
            secret_names=flow.secrets if flow else (),
            config_names=flow.config if flow else (),
            tool=_tool_of(name, flow.tool_inputs if flow else kept_inputs),
        )

    def deployed(self, before: SavedFlow | None) -> SavedFlow:
        """Return the new flow, or the stored one with the changes, or as it is if it has them already."""
        if before is None:
            return self.created()
        after = self.changed(before)
        # A deployment of the same text is no change: it leaves no trace, and other editors' conditions hold.
        return before if replace(after, updated_at=before.updated_at) == before else after


def _tool_of(name: str, inputs: str | None) -> FlowTool | None:
    """Return the tool of a flow; None if it has none. Raises: InvalidInput."""
    if inputs is None:
        return None
    named = tool_name(name)
    if named is None:
        hint = "give it a name with a letter a-z or a digit, or remove metadata.mcp"
        raise invalid("name", f"{quoted(name)} gives no name for the tool that metadata.mcp asks for", hint=hint)
    return FlowTool(named, inputs)


def check_name(name: str) -> None:
    """Raises: InvalidInput if no flow can have this name."""
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS:
        raise invalid("name", f"must have 1 to {MAX_NAME_CHARACTERS} characters, and not only spaces")


def _checked_name(name: str, before: str | None = None) -> str:
    """Return the name to save. Raises: InvalidInput. Args: before: The stored name, which may stay as it is."""
    if not name.strip():
        raise invalid(
            "name", "Name is required", code="required", hint="give 'name', or 'metadata.name' in the definition"
        )
    saved = composed(name)
    if before is not None and before in (name, saved):
        return before
    if (unseen := unseen_in(saved)) is not None:
        hint = "leave out control characters, line breaks and characters that set the direction of text"
        raise invalid("name", f"has the invisible character U+{ord(unseen):04X}", hint=hint)
    if shows_nothing(saved):
        raise invalid("name", "has only invisible characters", hint="give it a name that people can see")
    return saved
