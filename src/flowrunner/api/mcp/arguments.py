"""The arguments of the tools, and the JSON Schemas that describe them."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from flowrunner.api.http.requests import Body
from flowrunner.api.waiting import MOST_SECONDS

_ID = r"^[A-Za-z0-9_-]{1,100}$"
FlowId: TypeAlias = Annotated[str, Field(pattern=_ID, description="The id of a flow, from search_flows.")]
ExecutionId: TypeAlias = Annotated[str, Field(pattern=_ID, description="The id of an execution, such as exec-01m8….")]
Definition: TypeAlias = Annotated[str, Field(description="The flow as a YAML document, of at most 1 MiB.")]
Cursor: TypeAlias = Annotated[
    str | None, Field(default=None, max_length=300, description="next_cursor of the page before.")
]
WaitSeconds: TypeAlias = Annotated[
    int,
    Field(
        ge=0,
        le=MOST_SECONDS,
        description="Seconds to wait for the end. An execution that has not ended goes on: read it with get_execution.",
    ),
]
IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Field(
        default=None,
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="A key of your own: a repeated call with it starts nothing and returns the same execution.",
    ),
]


class SearchFlowsArguments(Body):
    query: str | None = Field(
        default=None, min_length=1, max_length=200, description="A text in the name or description; absent lists all."
    )
    tag: str | None = Field(default=None, min_length=1, max_length=100)
    limit: int = Field(default=20, ge=1, le=50)
    cursor: Cursor


class GetFlowArguments(Body):
    flow_id: FlowId
    first_line: int = Field(default=1, ge=1, le=2**31, description="Where the part of a long definition begins.")


class ListNodeTypesArguments(Body):
    query: str | None = Field(
        default=None, min_length=1, max_length=200, description="Words in the name or the description, such as http."
    )


class DescribeNodeTypeArguments(Body):
    name: str = Field(min_length=1, max_length=200, description="A node type, such as http.request.")


class ValidateFlowArguments(Body):
    definition: Definition


class SaveFlowArguments(Body):
    definition: Definition
    flow_id: FlowId | None = Field(default=None, description="The flow to change. Absent saves a new one.")
    revision: int | None = Field(
        default=None,
        ge=1,
        le=2**53,
        description="The revision that the change starts from, from get_flow. Required with flow_id: if the flow has"
        " another one now, nothing is saved.",
    )
    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Absent takes metadata.name of the definition."
    )
    dry_run: bool = Field(default=False, description="Return what would change, with all checks, and save nothing.")


class RunFlowArguments(Body):
    flow_id: FlowId
    input: dict[str, Any] = Field(default={}, description="The input: get_flow shows the inputs of the definition.")
    wait_seconds: WaitSeconds = 20
    idempotency_key: IdempotencyKey


class GetExecutionArguments(Body):
    execution_id: ExecutionId
    view: Literal["summary", "preview", "full"] = Field(
        default="summary",
        description="summary: the state, the error and the steps. preview: also the beginnings of inputs and results."
        " full: whole values, as far as they fit.",
    )


class GetExecutionLogsArguments(Body):
    execution_id: ExecutionId
    min_level: Literal["debug", "info", "warn", "error"] | None = None
    node: str | None = Field(default=None, min_length=1, max_length=200, description="Only lines of this node.")
    query: str | None = Field(default=None, min_length=1, max_length=200, description="Only lines with this text.")
    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor


class GetStepParamsArguments(Body):
    execution_id: ExecutionId
    step: str = Field(
        min_length=1, max_length=2000, description="The step, from get_execution, such as fetch.1 or each.1[4]/push.1."
    )
    attempt: int | None = Field(default=None, ge=1, le=2**31, description="The latest by default.")


class CancelExecutionArguments(Body):
    execution_id: ExecutionId
    force: bool = Field(default=False, description="End it at once, without on_finish.")


class RerunArguments(Body):
    execution_id: ExecutionId
    from_node: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="The node or step to begin at, with the earlier results; absent runs the whole flow again.",
    )
    elements: Literal["failed"] | None = Field(
        default=None, description="`failed`: from_node is a loop, and keeps the results of its completed elements."
    )
    node_input: Any = Field(
        default=None, description="Another input of from_node; absent takes what it got before. ${input} reads it."
    )
    input: dict[str, Any] | None = Field(default=None, description="Another input; absent takes the same one.")
    wait_seconds: WaitSeconds = 20
    idempotency_key: IdempotencyKey


class TestNodeArguments(Body):
    node: str = Field(min_length=1, max_length=2000, description="The node: push, or each/push inside a loop.")
    definition: str | None = Field(default=None, description="The flow as a YAML document, which need not be saved.")
    flow_id: FlowId | None = Field(default=None, description="Or a flow that is saved.")
    input: Any = Field(default=None, description="The result of the node before.")
    flow_input: dict[str, Any] = Field(default={}, description="The input of the execution.")
    results: dict[str, Any] = Field(default={}, max_length=1000, description="Results of other nodes, by name.")
    vars: dict[str, Any] = Field(default={}, max_length=1000, description="Variables that nodes have set.")


class SearchDocsArguments(Body):
    query: str = Field(min_length=1, max_length=300, description="A few words, such as: retry http errors")
    limit: int = Field(default=4, ge=1, le=10)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of the arguments of a tool, without what repeats the names."""
    schema = model.model_json_schema()
    schema.pop("title", None)
    schema.pop("description", None)
    schema["properties"] = {name: _plain(value) for name, value in schema["properties"].items()}
    return schema


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one argument. An argument that may be absent need not accept null."""
    plain = {key: value for key, value in schema.items() if key != "title"}
    choices = plain.pop("anyOf", None)
    if choices is None:
        return plain
    if plain.get("default", ...) is None:
        del plain["default"]
    (kind,) = [choice for choice in choices if choice.get("type") != "null"]
    return {**kind, **plain}
