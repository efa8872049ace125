"""Answers of the API as typed objects. Written by `make client` from the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flowrunner.client.model import Model


class AcceptedInvitation(Model):
    """The schema `AcceptedAnswer` of the API.

    Attributes:
        role: The role of the invitation; a higher one is kept.
    """

    workspace_id: str
    role: Literal["admin", "editor", "operator", "viewer"]


class Account(Model):
    """The schema `AccountAnswer` of the API.

    Attributes:
        email_confirmed: The address is known to be the person's own. Only then do approvers, invitations and new
            members match it, and are e-mails about the account sent to it.
    """

    id: str
    name: str
    email: str
    email_confirmed: bool
    role: Literal["admin", "user", "viewer"]
    disabled: bool
    created_at: datetime
    updated_at: datetime


class Approval(Model):
    """The schema `ApprovalInList` of the API.

    Attributes:
        step: The step, by which it can be answered.
        form: JSON Schema of the data in the answer; null for any data.
        until: The time at which it ends without an answer; null if it never does.
        needed: The number of approvals that are needed.
        given: The number of approvals so far.
        link: A link answers it, too, until it is revoked.
    """

    execution_id: str
    flow_id: str
    flow_name: str
    workspace_id: str
    node: str
    step: str
    prompt: str
    form: Any
    since: datetime
    until: datetime | None
    needed: int
    given: int
    link: bool


class Attempt(Model):
    """The schema `AttemptAnswer` of the API.

    Attributes:
        duration: Milliseconds. Absent until it has ended.
        retry_at: The time of the next attempt. Absent if there is none.
    """

    attempt: int
    status: Literal["running", "retrying", "waiting", "completed", "skipped", "failed", "cancelled", "interrupted"]
    started_at: datetime
    completed_at: datetime | None
    duration: int | None
    error: StepError | None
    retry_at: datetime | None


class AuditEntry(Model):
    """The schema `AuditEntryAnswer` of the API.

    Attributes:
        workspace_id: The workspace of the act; of an act on an account, its personal one.
    """

    seq: int
    at: datetime
    actor: str | None
    credential: str
    address: str
    action: str
    object: AuditObject
    workspace_id: str | None
    outcome: Literal["denied", "done", "failed"]
    details: dict[str, Any]
    previous_hash: str
    hash: str


class AuditObject(Model):
    """The schema `AuditObject` of the API."""

    kind: str
    id: str


class Bucket(Model):
    """The schema `BucketAnswer` of the API.

    Attributes:
        is_exact: `false` if one of the numbers, 10,000, is a lower bound.
    """

    since: datetime
    until: datetime
    counts: StatusCounts
    is_exact: bool


class Callback(Model):
    """The schema `CallbackAnswer` of the API.

    Attributes:
        url: Without what could be a credential.
        template: Absent unless the format is `template`.
        disabled_reason: Why the server has disabled it.
        failures: Failed attempts in a row.
        last_error: The `error` of the delivery that was tried last, such as `http.503`, or the recipients that the
            mail server has refused. Absent if it has none.
        warning: Why it reports nothing: its flow was deleted or moved. In the answer to a new URL also: why
            messages would fail, as far as that is known already.
    """

    id: str
    workspace_id: str
    name: str
    url: str
    events: list[str]
    format: Literal["discord", "email", "slack", "standard", "teams", "template"]
    flow_id: str | None
    tag: str | None
    children: bool
    template: Any
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    warning: str | None


class CallbackSecret(Model):
    """The schema `CallbackSecret` of the API.

    Attributes:
        secret: The new secret. It is shown only once.
        previous_until: Until then, messages are signed with the old secret too.
    """

    secret: str
    previous_until: datetime


class CommandLogin(Model):
    """The schema `CommandLoginAnswer` of the API."""

    code: str
    expires_at: datetime


class ConfigValue(Model):
    """The schema `ConfigValueAnswer` of the API."""

    name: str
    value: Any
    created_at: datetime
    updated_at: datetime


class Coverage(Model):
    """The schema `CoverageAnswer` of the API."""

    edges: int
    taken: int
    never: list[UntakenEdge]


class Database(Model):
    """The schema `DatabaseAnswer` of the API.

    Attributes:
        size: In bytes.
    """

    kind: Literal["postgresql", "sqlite"]
    size: int


class Delivery(Model):
    """The schema `DeliveryAnswer` of the API.

    Attributes:
        id: The id of the message, equal in all repeats.
        next_attempt_at: Absent unless it is pending.
        status_code: The receiver's last answer.
        error: Kind of the last failure, such as `http.503`; of a delivered e-mail, the recipients that the mail
            server has refused, such as `email.550: someone@example.com`.
    """

    id: str
    callback_id: str
    event: str
    execution_id: str | None
    state: Literal["delivered", "failed", "pending"]
    attempts: int
    created_at: datetime
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    status_code: int | None
    error: str | None


class DeployedFlow(Model):
    """The schema `DeployedFlow` of the API.

    Attributes:
        revision: Revision number of the definition.
        disabled: `true` if it starts no executions; absent otherwise.
        same_name: Ids of other flows with its name, at most two: routes by name answer 409 for it. Only in the
            answer to a creation, and absent if there are none.
        plan: What the request would do. Only in the answer to a dry run, whose flow is not stored.
        action: `none` if the flow already had all of the changes.
        missing_secrets: Names of secrets that the flow needs and the workspace does not have. Absent without any.
        missing_config: Names of configuration values that the flow needs and the workspace does not have. Absent
            without any.
        missing_flows: Names or ids of flows that the flow calls or waits for, which neither the workspace nor the
            request has. Absent without any.
    """

    id: str
    name: str
    description: str
    version: str
    created_at: datetime
    updated_at: datetime
    tags: list[str]
    revision: int
    disabled: bool | None
    same_name: list[str] | None
    plan: Plan | None
    action: Literal["create", "update", "none"]
    missing_secrets: list[str] | None
    missing_config: list[str] | None
    missing_flows: list[str] | None


class DeployedFlows(Model):
    """The schema `DeployedFlows` of the API.

    Attributes:
        deleted: Ids of the flows that were deleted. Absent without any.
    """

    flows: list[DeployedFlow]
    deleted: list[str] | None


class Difference(Model):
    """The schema `DifferenceAnswer` of the API.

    Attributes:
        against: The revision compared against; null if there is no earlier one.
        diff: A unified diff; empty if nothing changed.
        is_truncated: `true` if the difference is longer than 1 MiB and was cut off.
        summary: Null if one of the two is not valid YAML.
    """

    number: int
    against: int | None
    diff: str
    is_truncated: bool
    summary: DifferenceSummary | None


class DifferenceSummary(Model):
    """The schema `DifferenceSummary` of the API.

    Attributes:
        keys_changed: Changed top-level keys of the document, such as `vars`.
    """

    nodes_added: list[str]
    nodes_removed: list[str]
    nodes_changed: list[str]
    keys_changed: list[str]


class Dispatcher(Model):
    """The schema `DispatcherAnswer` of the API.

    Attributes:
        active: Executions in the memory of this process.
        queued: Executions that wait to be advanced.
        limit: Executions that one process advances at the same time.
    """

    kind: Literal["local", "temporal"]
    active: int
    queued: int
    limit: int


class DurationBucket(Model):
    """The schema `DurationBucket` of the API.

    Attributes:
        at_least: Milliseconds.
        below: Milliseconds.
    """

    at_least: int
    below: int
    count: int


class Durations(Model):
    """The schema `DurationsAnswer` of the API.

    Attributes:
        sample: The number of executions, the latest ones.
        p50: Milliseconds.
        p95: Milliseconds.
    """

    sample: int
    p50: int
    p95: int


class Entry(Model):
    """The schema `EntryAnswer` of the API.

    Attributes:
        size: Bytes of the value as JSON.
        expires_at: null if it does not expire.
    """

    namespace: str
    key: str
    size: int
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    value: Any


class Event(Model):
    """The schema `EventAnswer` of the API.

    Attributes:
        type: execution_update, node_completed, log, execution_completed or execution_failed.
    """

    type: str
    execution_id: str
    seq: int
    timestamp: datetime


class EventList(Model):
    """The schema `EventList` of the API.

    Attributes:
        after: Send it as `after` for the events that follow.
        has_ended: The last event of the execution is among these, or before them.
    """

    events: list[Event]
    after: int
    has_ended: bool


class Execution(Model):
    """The schema `ExecutionAnswer` of the API.

    Attributes:
        completed_at: Absent until the execution has ended.
        duration: Milliseconds. Absent until the execution has ended.
        error: The error message. Absent unless the execution failed.
        flow_name: The present name of the flow.
        revision: The flow revision that this execution runs.
        error_type: The type of the error, such as http.500.
        failed_node: The node that failed. Absent if the error belongs to no node.
        logs: Absent until the execution has ended.
        trigger: The id of the trigger that has started it.
        started_by: The account that has started it, re-run it, or fired its trigger by hand. Absent if no account
            asked for it.
        parent_id: The parent execution, which waits for this one.
        rerun_of: The execution that this one repeats.
        repaired_by: The completed rerun of this execution, which has failed or was cancelled; or the rerun of it.
        labels: The labels that it was started with. Absent without any.
        waiting_at: The first one of its waits. Absent unless its status is waiting, or it runs and waits for a
            concurrency slot or for room in memory.
    """

    id: str
    flow_id: str
    status: Literal["running", "waiting", "completed", "failed", "cancelled"]
    started_at: datetime
    completed_at: datetime | None
    duration: int | None
    error: str | None
    flow_name: str | None
    revision: int | None
    error_type: str | None
    failed_node: str | None
    logs: LogCounts | None
    trigger: str | None
    started_by: str | None
    parent_id: str | None
    rerun_of: str | None
    repaired_by: str | None
    labels: dict[str, str] | None
    waiting_at: FirstWait | None


class ExecutionDetail(Model):
    """The schema `ExecutionDetailAnswer` of the API.

    Attributes:
        completed_at: Absent until the execution has ended.
        duration: Milliseconds. Absent until the execution has ended.
        error: The error message. Absent unless the execution failed.
        flow_name: The present name of the flow.
        revision: The flow revision that this execution runs.
        error_type: The type of the error, such as http.500.
        failed_node: The node that failed. Absent if the error belongs to no node.
        logs: Absent until the execution has ended.
        trigger: The id of the trigger that has started it.
        started_by: The account that has started it, re-run it, or fired its trigger by hand. Absent if no account
            asked for it.
        parent_id: The parent execution, which waits for this one.
        rerun_of: The execution that this one repeats.
        repaired_by: The completed rerun of this execution, which has failed or was cancelled; or the rerun of it.
        labels: The labels that it was started with. Absent without any.
        config: The configuration values that it reads, as they were when it was created. Absent without any.
        result: Absent until the execution has completed.
        waiting_for: Absent unless the execution waits.
        failure: Absent unless the execution failed.
    """

    id: str
    flow_id: str
    status: Literal["running", "waiting", "completed", "failed", "cancelled"]
    started_at: datetime
    completed_at: datetime | None
    duration: int | None
    error: str | None
    flow_name: str | None
    revision: int | None
    error_type: str | None
    failed_node: str | None
    logs: LogCounts | None
    trigger: str | None
    started_by: str | None
    parent_id: str | None
    rerun_of: str | None
    repaired_by: str | None
    labels: dict[str, str] | None
    input: Any
    config: dict[str, Any] | None
    result: Any
    waiting_for: list[WaitingFor] | None
    failure: Failure | None


class Factor(Model):
    """The schema `FactorAnswer` of the API."""

    id: str
    type: Literal["passkey", "totp"]
    name: str
    created_at: datetime
    last_used_at: datetime | None


class FactorList(Model):
    """The schema `FactorList` of the API.

    Attributes:
        passkeys: Passkeys can be added: `public_url` is set to an address for them.
    """

    second_factors: list[Factor]
    recovery_codes_left: int
    passkeys: bool


class Failure(Model):
    """The schema `FailureAnswer` of the API.

    Attributes:
        input: The step's input.
    """

    type: str
    message: str
    node: str | None
    step: str | None
    attempt: int | None
    input: Any
    data: Any


class Fault(Model):
    """The schema `ErrorEntry` of the API.

    Attributes:
        pointer: JSON pointer to the faulty value of the request.
        path: Dotted path of the faulty value, within the flow document if the fault is there.
        line: Line in the flow document, from 1.
        fix: The edit of the document that removes the fault, where validation is sure of one.
        flow: The flow's name, if the request has several flows.
    """

    pointer: str
    path: str
    code: str
    message: str
    line: int | None
    column: int | None
    hint: str | None
    fix: Fix | None
    flow: str | None


class FirstWait(Model):
    """The schema `FirstWait` of the API.

    Attributes:
        type: signal, approval, concurrency, room, or another type as in `waiting_for` of the execution.
        node: Absent if the execution itself waits: for concurrency or for room.
    """

    type: str
    node: str | None


class Fix(Model):
    """The schema `FixAnswer` of the API.

    Attributes:
        end_column: The column after the last one.
    """

    line: int
    column: int
    end_column: int
    text: str


class Flow(Model):
    """The schema `FlowAnswer` of the API.

    Attributes:
        revision: Revision number of the definition.
        disabled: `true` if it starts no executions; absent otherwise.
        same_name: Ids of other flows with its name, at most two: routes by name answer 409 for it. Only in the
            answer to a creation, and absent if there are none.
        plan: What the request would do. Only in the answer to a dry run, whose flow is not stored.
    """

    id: str
    name: str
    description: str
    version: str
    created_at: datetime
    updated_at: datetime
    tags: list[str]
    revision: int
    disabled: bool | None
    same_name: list[str] | None
    plan: Plan | None


class FlowActivity(Model):
    """The schema `FlowActivityAnswer` of the API.

    Attributes:
        failing: Absent unless the last execution that has ended has failed.
        durations: Of those of the executions below that completed.
        next_start_at: When a schedule starts it next. Absent if none does, or it is disabled.
        executions: The last 20, the newest first.
    """

    flow_id: str
    name: str
    disabled: bool
    failing: LatestFailure | None
    durations: Durations | None
    next_start_at: datetime | None
    executions: list[RecentExecution]


class FlowDetail(Model):
    """The schema `FlowDetail` of the API.

    Attributes:
        revision: Revision number of the definition.
        disabled: `true` if it starts no executions; absent otherwise.
        same_name: Ids of other flows with its name, at most two: routes by name answer 409 for it. Only in the
            answer to a creation, and absent if there are none.
        plan: What the request would do. Only in the answer to a dry run, whose flow is not stored.
    """

    id: str
    name: str
    description: str
    version: str
    created_at: datetime
    updated_at: datetime
    tags: list[str]
    revision: int
    disabled: bool | None
    same_name: list[str] | None
    plan: Plan | None
    definition: str


class FlowGraph(Model):
    """The schema `FlowGraphAnswer` of the API.

    Attributes:
        nodes: In document order.
        mermaid: The graph as a Mermaid flowchart, as `flowrunner graph` prints it.
    """

    nodes: list[SketchNode]
    edges: list[SketchEdge]
    mermaid: str


class FlowName(Model):
    """The schema `FlowNameAnswer` of the API."""

    id: str
    name: str


class FlowTest(Model):
    """The schema `FlowTestAnswer` of the API.

    Attributes:
        path: The flow's own nodes that ran, in order.
        handlers: The nodes of on_failure and on_finish that ran.
        duration: Milliseconds that the test took.
        virtual_duration: Milliseconds by the clock of the execution, waits included.
        problems: Reasons why the test says nothing, such as a missing mock.
        explanation: Why it failed, as lines for people: what differs, the error, what ran, and the end of its log.
    """

    name: str
    ok: bool
    status: Literal["completed", "failed", "cancelled", "waiting", "not_started"]
    path: list[str]
    handlers: list[str]
    duration: int
    virtual_duration: int
    problems: list[str]
    mismatches: list[Mismatch]
    explanation: list[str]


class FlowTests(Model):
    """The schema `FlowTestsAnswer` of the API."""

    passed: int
    failed: int
    tests: list[FlowTest]
    coverage: Coverage


class Graph(Model):
    """The schema `GraphAnswer` of the API."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]


class GraphEdge(Model):
    """The schema `GraphEdgeAnswer` of the API.

    Attributes:
        source: The id of a node.
        target: The id of a node.
        action: An action or an error pattern of the source.
        taken: How often the execution has followed the edge.
    """

    source: str
    target: str
    action: str
    taken: int


class GraphNode(Model):
    """The schema `GraphNodeAnswer` of the API.

    Attributes:
        id: Its path: push, each/push in a loop, both[left]/push in a branch.
        parent: The id of the node that holds it.
        is_start: The flow, the loop or the branch begins here.
        handles: The end of the flow that it handles.
        status: Of its latest run. Absent if it has not run.
        step: The id of its latest run.
        runs: The number of its runs, by status.
    """

    id: str
    node_id: str
    node_type: str
    parent: str | None
    branch: str | None
    is_start: bool
    handles: Literal["both", "failure", "finish"] | None
    status: Literal["running", "retrying", "waiting", "completed", "skipped", "failed", "cancelled"] | None
    step: int | None
    started_at: datetime | None
    completed_at: datetime | None
    runs: dict[str, int]


class Health(Model):
    """The schema `Health` of the API."""

    status: str


class Histogram(Model):
    """The schema `HistogramAnswer` of the API.

    Attributes:
        buckets: The oldest first, by the start of the executions.
        durations: Of the last 1,000 executions that completed.
        distribution: The durations of these executions.
    """

    buckets: list[Bucket]
    durations: Durations | None
    distribution: list[DurationBucket]


class HookDelivery(Model):
    """The schema `HookDeliveryAnswer` of the API.

    Attributes:
        state: `received`: it has not started anything yet: the server ended, an outage began, or the installation
            is paused; `skipped`: `when` was false.
        error: Why it started nothing.
        size: Bytes of the stored request.
        request: `method`, `body`, `headers` and `query`, without secrets; not in lists.
    """

    id: str
    received_at: datetime
    state: Literal["failed", "received", "repeated", "skipped", "started"]
    execution_id: str | None
    error: str | None
    size: int
    request: Any


class Identity(Model):
    """The schema `IdentityAnswer` of the API.

    Attributes:
        subject: The account's id at the provider.
    """

    id: str
    provider: str
    issuer: str
    subject: str
    created_at: datetime
    last_used_at: datetime | None


class IdentityList(Model):
    """The schema `IdentityList` of the API.

    Attributes:
        has_password: False if an account of a provider is the only way to log in to the account.
    """

    identities: list[Identity]
    has_password: bool


class Invitation(Model):
    """The schema `InvitationInList` of the API.

    Attributes:
        invited_by: The id of the account that invites.
    """

    id: str
    workspace_id: str
    email: str
    role: Literal["admin", "editor", "operator", "viewer"]
    invited_by: str
    created_at: datetime
    expires_at: datetime


class Job(Model):
    """The schema `JobAnswer` of the API.

    Attributes:
        type: The action: `executions.rerun`, `executions.cancel`, …
        failed: The number of items that failed.
        errors: The first 100.
        completed_at: Absent until the job has ended.
    """

    id: str
    type: str
    status: Literal["running", "completed", "failed", "cancelled"]
    total: int
    done: int
    failed: int
    errors: list[JobError]
    created_at: datetime
    completed_at: datetime | None


class JobError(Model):
    """The schema `JobErrorAnswer` of the API.

    Attributes:
        item: The execution, or the due time. Absent if the whole job cannot go on.
    """

    item: str | None
    message: str


class LatestFailure(Model):
    """The schema `LatestFailure` of the API.

    Attributes:
        error: The beginning of the error's message.
    """

    execution_id: str
    failed_at: datetime | None
    error: str | None
    error_type: str | None
    failed_node: str | None


class Limits(Model):
    """The schema `LimitsAnswer` of the API.

    Attributes:
        stored: Bytes.
    """

    active: int | None
    queued: int | None
    flows: int | None
    stored: int | None


class Link(Model):
    """The schema `LinkAnswer` of the API.

    Attributes:
        url: Where the browser goes next; it has got a cookie to return with.
    """

    url: str


class ListedConfigValue(Model):
    """The schema `ConfigValueInList` of the API.

    Attributes:
        used_by: The flows whose current revision names it, at most the first 100.
    """

    name: str
    value: Any
    created_at: datetime
    updated_at: datetime
    used_by: list[FlowName]


class ListedEntry(Model):
    """The schema `ListedEntryAnswer` of the API.

    Attributes:
        size: Bytes of the value as JSON.
        expires_at: null if it does not expire.
    """

    namespace: str
    key: str
    size: int
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ListedSecret(Model):
    """The schema `SecretInList` of the API.

    Attributes:
        last_used_at: When an execution last read it, known within two minutes. Absent if none has.
        used_by: The flows whose current revision names it, at most the first 100.
    """

    key: str
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    used_by: list[FlowName]


class Log(Model):
    """The schema `LogAnswer` of the API.

    Attributes:
        step: The step, such as fetch.1, or each.1[4]/push.1 in a loop.
        attempt: The attempt of the step that wrote the line. Absent for the first one.
    """

    timestamp: datetime
    level: Literal["debug", "info", "warn", "error"]
    message: str
    node_id: str | None
    node_type: str | None
    step: str | None
    attempt: int | None
    data: Any


class LogCounts(Model):
    """The schema `LogCounts` of the API."""

    debug: int | None
    info: int | None
    warn: int | None
    error: int | None


class LoginMethods(Model):
    """The schema `LoginMethods` of the API.

    Attributes:
        password: Logins with a password are accepted.
    """

    password: bool
    providers: list[Provider]


class LoginToken(Model):
    """The schema `TokenAnswer` of the API.

    Attributes:
        token: Absent if the token was set as a cookie.
    """

    token: str | None
    expires_at: datetime
    account_id: str


class Member(Model):
    """The schema `MemberAnswer` of the API.

    Attributes:
        owner: The workspace is the personal one of this account.
        role_from: The name of the provider of single sign-on whose groups decide the role: a change lasts until the
            member's next login there. Absent if none does; only in lists.
    """

    account_id: str
    name: str
    email: str
    role: Literal["admin", "editor", "operator", "viewer"]
    email_confirmed: bool
    owner: bool
    added_at: datetime
    role_from: str | None


class Message(Model):
    """The schema `Message` of the API."""

    message: str


class Mismatch(Model):
    """The schema `MismatchAnswer` of the API.

    Attributes:
        what: What differs, such as `status`, `path` or `result`.
    """

    what: str
    expected: Any
    actual: Any


class Move(Model):
    """The schema `MoveAnswer` of the API.

    Attributes:
        missing_secrets: Names of secrets that the flow needs and the workspace does not have.
        missing_config: Names of configuration values that the flow needs and the workspace does not have.
    """

    flow: Flow
    workspace_id: str
    missing_secrets: list[str]
    missing_config: list[str]


class NewCallback(Model):
    """The schema `NewCallback` of the API.

    Attributes:
        url: Without what could be a credential.
        template: Absent unless the format is `template`.
        disabled_reason: Why the server has disabled it.
        failures: Failed attempts in a row.
        last_error: The `error` of the delivery that was tried last, such as `http.503`, or the recipients that the
            mail server has refused. Absent if it has none.
        warning: Why it reports nothing: its flow was deleted or moved. In the answer to a new URL also: why
            messages would fail, as far as that is known already.
        secret: The secret that signs the messages. It is shown only once. Absent if the format has none.
    """

    id: str
    workspace_id: str
    name: str
    url: str
    events: list[str]
    format: Literal["discord", "email", "slack", "standard", "teams", "template"]
    flow_id: str | None
    tag: str | None
    children: bool
    template: Any
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    warning: str | None
    secret: str | None


class NewInvitation(Model):
    """The schema `NewInvitationAnswer` of the API.

    Attributes:
        invited_by: The id of the account that invites.
        link: Shown only once. It is a path if the setting `public_url` does not name the server.
        mailed: Whether an e-mail with the link is on its way.
    """

    id: str
    workspace_id: str
    email: str
    role: Literal["admin", "editor", "operator", "viewer"]
    invited_by: str
    created_at: datetime
    expires_at: datetime
    link: str
    mailed: bool


class NewRecoveryCodes(Model):
    """The schema `NewRecoveryCodes` of the API.

    Attributes:
        recovery_codes: Each replaces the second factor once. They come with the first one, and are not shown again.
    """

    recovery_codes: list[str]


class NewToken(Model):
    """The schema `NewToken` of the API.

    Attributes:
        workspace_id: The workspace that the token reaches.
        expires_at: Absent if the token does not expire.
        last_used_at: Absent if the token was never used.
        token: The token. It is shown only once.
    """

    id: str
    account_id: str
    workspace_id: str
    name: str
    scopes: list[Literal["admin", "mcp", "members", "read", "run", "write"]]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    token: str


class NextTimes(Model):
    """The schema `NextTimes` of the API.

    Attributes:
        next: The moments at which it starts the flow, the first one first.
    """

    next: list[str]


class NodeType(Model):
    """The schema `NodeTypeAnswer` of the API.

    Attributes:
        params_schema: A JSON Schema (draft-07); an expression may stand for each value.
        actions: Actions that a node can end with. Absent if its parameters decide. Empty if it ends its scope.
        errors: Types or families of its own errors; `*` is any. `common_errors` come on top.
        child_scopes: The key that holds the nodes inside it.
        pure: It touches nothing outside the execution.
        repeatable: A node without further parameters may run twice without harm.
        examples: Nodes in YAML, without their names.
    """

    name: str
    description: str
    params_schema: dict[str, Any]
    actions: list[str] | None
    errors: list[str]
    child_scopes: Literal["branches", "nodes"] | None
    pure: bool
    repeatable: bool
    starts_executions: bool
    sets_variables: bool
    examples: list[str]


class NodeTypeList(Model):
    """The schema `NodeTypeList` of the API.

    Attributes:
        common_errors: Errors that every node can fail with.
    """

    node_types: list[NodeType]
    common_errors: list[str]


class OpenExecution(Model):
    """The schema `OpenExecutionAnswer` of the API.

    Attributes:
        waiting_for: Absent unless it waits.
    """

    id: str
    flow_id: str
    flow_name: str | None
    started_at: datetime
    waiting_for: list[WaitingFor] | None


class OpenInvitation(Model):
    """The schema `OpenInvitationAnswer` of the API.

    Attributes:
        workspace: The name of the workspace.
        email: The address of the account that may accept.
        invited_by: The name of the account that invites.
        sign_up: Whether an account may be created with it.
    """

    workspace: str
    role: Literal["admin", "editor", "operator", "viewer"]
    email: str
    invited_by: str
    expires_at: datetime
    sign_up: bool


class Overview(Model):
    """The schema `OverviewAnswer` of the API.

    Attributes:
        waiting: The newest that wait for a signal or an approval, at most 10.
        running: The newest that run, at most 10.
        failing_flows: The number of flows whose last execution that has ended has failed, among the 2,000 flows
            that were created last.
        flows: Those with the newest executions first.
    """

    at: datetime
    counts: StatusCounts
    waiting: list[OpenExecution]
    running: list[OpenExecution]
    failing_flows: int
    flows: list[FlowActivity]


class ParamsError(Model):
    """The schema `ParamsError` of the API.

    Attributes:
        path: The place of the expression: `body.items[0]`; `if` for the condition.
        reads: The values of the names that it reads.
    """

    path: str
    message: str
    reads: dict[str, Preview]


class PasskeyOptions(Model):
    """The schema `PasskeyOptions` of the API.

    Attributes:
        options: For `PublicKeyCredential.parseCreationOptionsFromJSON` of the browser.
    """

    challenge: str
    options: dict[str, Any]


class Pause(Model):
    """The schema `PauseAnswer` of the API.

    Attributes:
        paused_at: Absent unless the installation is paused.
    """

    paused: bool
    paused_at: datetime | None


class Plan(Model):
    """The schema `PlanAnswer` of the API.

    Attributes:
        action: `none` if the flow already has all of the changes.
        diff: A unified diff of the definitions; empty if they are equal.
        is_truncated: `true` if the difference is longer than 1 MiB and was cut off.
        summary: Null if the old definition is not valid YAML.
    """

    action: Literal["create", "update", "none"]
    diff: str
    is_truncated: bool
    summary: DifferenceSummary | None


class PlannedBackfill(Model):
    """The schema `PlannedBackfill` of the API.

    Attributes:
        total: The due times of the period; those that were started are left out.
        times: The first ones.
    """

    type: str
    total: int
    times: list[str]


class PlannedJob(Model):
    """The schema `PlannedJob` of the API.

    Attributes:
        executions: The first ones.
    """

    type: str
    total: int
    executions: list[Execution]


class Preferences(Model):
    """The schema `PreferencesAnswer` of the API."""

    preferences: dict[str, Any]


class Preview(Model):
    """The schema `PreviewAnswer` of the API.

    Attributes:
        size: Bytes of the whole value as JSON.
        value: The whole value. Absent if it is too long.
        text: The beginning of a value that is too long.
    """

    size: int
    value: Any
    text: str | None


class Provider(Model):
    """The schema `ProviderAnswer` of the API.

    Attributes:
        start: The address at which a browser begins a login; `next` is a path.
    """

    id: str
    name: str
    start: str


class Received(Model):
    """The schema `ReceivedAnswer` of the API.

    Attributes:
        by: The account that sent it; `link` for the link of an approval. Absent if no account sent it.
    """

    at: datetime
    by: str | None
    payload: Preview


class RecentExecution(Model):
    """The schema `RecentExecutionAnswer` of the API.

    Attributes:
        duration: Milliseconds. Absent until it has ended.
    """

    id: str
    status: Literal["running", "waiting", "completed", "failed", "cancelled"]
    started_at: datetime
    duration: int | None


class Refusal(Model):
    """The schema `RefusalAnswer` of the API."""

    at: datetime
    reason: str


class Refusals(Model):
    """The schema `RefusalsAnswer` of the API.

    Attributes:
        last: The last few, the newest last.
    """

    count: int
    last: list[Refusal]


class ResetLink(Model):
    """The schema `ResetLinkAnswer` of the API.

    Attributes:
        link: Shown only once. It is a path if the setting `public_url` does not name the server.
    """

    link: str
    expires_at: datetime


class Retention(Model):
    """The schema `RetentionAnswer` of the API.

    Attributes:
        in_force: The rule that holds, with those of the workspace and of the server.
    """

    max_age_seconds: int | None
    max_count: int | None
    in_force: Rule


class Revision(Model):
    """The schema `RevisionAnswer` of the API.

    Attributes:
        number: Counted from 1 within the flow.
        version: The author's label: the definition's `metadata.version`.
        created_by: The id of the account that saved it.
        size: Bytes of the definition.
    """

    number: int
    version: str
    created_at: datetime
    created_by: str
    is_current: bool
    size: int


class RevisionDetail(Model):
    """The schema `RevisionDetail` of the API.

    Attributes:
        number: Counted from 1 within the flow.
        version: The author's label: the definition's `metadata.version`.
        created_by: The id of the account that saved it.
        size: Bytes of the definition.
    """

    number: int
    version: str
    created_at: datetime
    created_by: str
    is_current: bool
    size: int
    definition: str


class Rotation(Model):
    """The schema `RotationAnswer` of the API.

    Attributes:
        needed_until: The time until which tokens signed by the previous key are valid.
        completed_at: The time at which the previous keys were no longer needed.
    """

    id: int
    kind: Literal["data", "master", "signing"]
    status: Literal["completed", "running"]
    requested_at: datetime
    needed_until: datetime | None
    completed_at: datetime | None


class Rule(Model):
    """The schema `RuleAnswer` of the API."""

    max_age_seconds: int | None
    max_count: int | None


class Schedule(Model):
    """The schema `ScheduleAnswer` of the API.

    Attributes:
        cron: Five fields, read in the time zone.
        timezone: The IANA name of a time zone.
        missed: The due times of an outage that are started after it.
        overlap: What happens while an execution that it started is open.
    """

    cron: str | None
    every_seconds: float | None
    at: datetime | None
    timezone: str
    missed: Literal["all", "latest", "none"]
    overlap: Literal["allow", "queue", "replace", "skip"]


class Scopes(Model):
    """The schema `ScopesAnswer` of the API."""

    total: int
    completed: int
    failed: int
    cancelled: int


class Secret(Model):
    """The schema `SecretAnswer` of the API."""

    key: str
    created_at: datetime
    updated_at: datetime


class Session(Model):
    """The schema `SessionAnswer` of the API.

    Attributes:
        is_current: The request is made with it.
        created_at: The time of the login, which a refresh does not change.
        last_used_at: To about a minute. Absent if it is not known.
        address: The client's address. Absent if it is not known.
        agent: The client's `User-Agent`. Absent if it is not known.
    """

    id: str
    is_current: bool
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    address: str | None
    agent: str | None


class SetupState(Model):
    """The schema `SetupState` of the API.

    Attributes:
        is_set_up: False as long as there is no account.
        mails_resets: Whether the server sends links to set a new password.
    """

    is_set_up: bool
    mails_resets: bool


class SharedWorkspace(Model):
    """The schema `SharedWorkspaceAnswer` of the API."""

    id: str
    name: str
    slug: str
    created_at: datetime
    members: int
    admins: int


class SignalledExecutions(Model):
    """The schema `SignalledExecutions` of the API.

    Attributes:
        executions: The ids of those that have the signal.
        errors: Those that could not take it, such as one that has just ended.
    """

    executions: list[str]
    errors: list[JobError]


class Sketch(Model):
    """The schema `SketchAnswer` of the API.

    Attributes:
        is_valid: `true` if the definition can be saved.
        errors: Faults that prevent saving, in document order.
        warnings: Valid but probably unintended constructs, and dependencies that are missing at run time.
        nodes: In document order.
        edges: Those that lead to a node of their scope.
    """

    is_valid: bool
    errors: list[Fault]
    warnings: list[Fault]
    nodes: list[SketchNode]
    edges: list[SketchEdge]


class SketchEdge(Model):
    """The schema `SketchEdge` of the API.

    Attributes:
        source: The id of a node.
        target: The id of a node.
        action: An action or an error pattern of the source.
        line: Where the target is named.
    """

    source: str
    target: str
    action: str
    line: int
    column: int


class SketchNode(Model):
    """The schema `SketchNode` of the API.

    Attributes:
        id: Its path: push, each/push in a loop, both[left]/push in a branch.
        node_type: Absent if the node has none yet.
        parent: The id of the node that holds it.
        is_start: The flow, the loop or the branch begins here.
        handles: The end of the flow that it handles.
        path: Its place in the document, as in the `path` of faults.
    """

    id: str
    node_id: str
    node_type: str | None
    parent: str | None
    branch: str | None
    is_start: bool
    handles: Literal["both", "failure", "finish"] | None
    path: str
    line: int
    column: int


class StartedByHook(Model):
    """The schema `HookAnswer` of the API.

    Attributes:
        started: Whether this request has started an execution.
        execution_id: The execution, or that of an earlier request with the same key.
    """

    started: bool
    execution_id: str | None
    status: Literal["cancelled", "completed", "failed", "running", "waiting"] | None


class StartedExecution(Model):
    """The schema `RunAnswer` of the API.

    Attributes:
        completed_at: Only with `Prefer: wait`, of an execution that has ended in time.
        duration: Milliseconds. Only with `Prefer: wait`.
        result: Only with `Prefer: wait`, of an execution that has ended in time.
        error: Only with `Prefer: wait`, of an execution that has ended in time.
        failure: Only with `Prefer: wait`, of an execution that has ended in time.
    """

    execution_id: str
    flow_id: str
    status: Literal["running", "waiting", "completed", "failed", "cancelled"]
    created_at: datetime
    completed_at: datetime | None
    duration: int | None
    result: Any
    error: str | None
    failure: Failure | None


class StartedRerun(Model):
    """The schema `RerunAnswer` of the API.

    Attributes:
        completed_at: Only with `Prefer: wait`, of an execution that has ended in time.
        duration: Milliseconds. Only with `Prefer: wait`.
        result: Only with `Prefer: wait`, of an execution that has ended in time.
        error: Only with `Prefer: wait`, of an execution that has ended in time.
        failure: Only with `Prefer: wait`, of an execution that has ended in time.
        revision: The flow revision that this execution runs.
    """

    execution_id: str
    flow_id: str
    status: Literal["running", "waiting", "completed", "failed", "cancelled"]
    created_at: datetime
    completed_at: datetime | None
    duration: int | None
    result: Any
    error: str | None
    failure: Failure | None
    revision: int | None


class StartedRotations(Model):
    """The schema `StartedRotations` of the API."""

    rotations: list[Rotation]


class StatusCounts(Model):
    """The schema `StatusCounts` of the API."""

    running: int
    waiting: int
    completed: int
    failed: int
    cancelled: int


class StepDetail(Model):
    """The schema `StepDetailAnswer` of the API.

    Attributes:
        id: The number of its first event.
        step: The step, such as fetch.1, or each.1[4]/push.1 in a loop.
        scope: The round of a loop or the branch that it belongs to. Absent for the flow's own nodes.
        parent: The id of the step whose scope it belongs to.
        completed_at: Absent until it has ended.
        duration: Milliseconds. Absent until it has ended.
        queued: Milliseconds from when it could have started to its start.
        action: The action that it ended with.
        error: The error of its latest attempt, if that has failed.
        wait: Its latest wait. Absent if it has never waited.
        input_edited_by: The account that has edited its input for a rerun. Absent if its input was not edited.
        result: Absent until it has completed.
        each_attempt: The latest 100 attempts, the oldest first.
        waits: The latest 20 waits, the oldest first.
    """

    id: int
    step: str
    node_id: str
    node_type: str
    scope: str | None
    parent: int | None
    status: Literal["running", "retrying", "waiting", "completed", "skipped", "failed", "cancelled"]
    attempts: int
    started_at: datetime
    completed_at: datetime | None
    duration: int | None
    queued: int
    action: str | None
    error: StepError | None
    wait: StepWait | None
    scopes: Scopes | None
    input_edited_by: str | None
    input: Any
    result: Any
    each_attempt: list[Attempt]
    waits: list[StepWait]


class StepError(Model):
    """The schema `StepError` of the API.

    Attributes:
        message: A list shows at most 2,000 characters of a long one.
        data: Absent from lists if it is long.
    """

    type: str
    message: str
    data: Any


class StepListItem(Model):
    """The schema `StepListItem` of the API.

    Attributes:
        id: The number of its first event.
        step: The step, such as fetch.1, or each.1[4]/push.1 in a loop.
        scope: The round of a loop or the branch that it belongs to. Absent for the flow's own nodes.
        parent: The id of the step whose scope it belongs to.
        completed_at: Absent until it has ended.
        duration: Milliseconds. Absent until it has ended.
        queued: Milliseconds from when it could have started to its start.
        action: The action that it ended with.
        error: The error of its latest attempt, if that has failed.
        wait: Its latest wait. Absent if it has never waited.
        input_edited_by: The account that has edited its input for a rerun. Absent if its input was not edited.
        result: Absent until it has completed.
    """

    id: int
    step: str
    node_id: str
    node_type: str
    scope: str | None
    parent: int | None
    status: Literal["running", "retrying", "waiting", "completed", "skipped", "failed", "cancelled"]
    attempts: int
    started_at: datetime
    completed_at: datetime | None
    duration: int | None
    queued: int
    action: str | None
    error: StepError | None
    wait: StepWait | None
    scopes: Scopes | None
    input_edited_by: str | None
    input: Preview | None
    result: Preview | None


class StepParams(Model):
    """The schema `StepParamsAnswer` of the API.

    Attributes:
        step: The step, such as fetch.1, or each.1[4]/push.1 in a loop.
        params: The evaluated parameters: null where an expression has no value, and `${secrets.NAME}` in place of
            the value of a secret. Absent if its `if` was false, or none could be evaluated.
        errors: The parts of the parameters that have no value.
        exact: The attempt was given these, apart from the values of secrets.
        reasons: Why it may have been given others.
    """

    step: str
    attempt: int
    params: Preview | None
    errors: list[ParamsError]
    exact: bool
    reasons: list[str]


class StepWait(Model):
    """The schema `StepWait` of the API."""

    since: datetime
    waiting_for: WaitingFor
    received: Received | None


class System(Model):
    """The schema `SystemAnswer` of the API.

    Attributes:
        paused: The installation starts no executions.
        paused_at: Absent unless the installation is paused.
        details: For admins of the installation only.
    """

    version: str
    paused: bool
    paused_at: datetime | None
    details: SystemDetails | None


class SystemDetails(Model):
    """The schema `SystemDetails` of the API.

    Attributes:
        started_at: The start of this process.
        processes: Servers and workers on the database, with those that stand by.
        engine_processes: Engine processes of this server that run. Absent if its own process advances executions.
        script_workers: Processes of one server that evaluate JavaScript.
        streams: Open WebSockets, event streams and waiting requests of this process.
    """

    started_at: datetime
    database: Database
    dispatcher: Dispatcher
    processes: int
    engine_processes: int | None
    script_workers: int
    streams: int


class Ticket(Model):
    """The schema `TicketAnswer` of the API.

    Attributes:
        ticket: Send it as the WebSocket subprotocol `ticket.<ticket>`. It is valid for one connection.
    """

    ticket: str
    expires_at: datetime


class Token(Model):
    """The schema `TokenInList` of the API.

    Attributes:
        workspace_id: The workspace that the token reaches.
        expires_at: Absent if the token does not expire.
        last_used_at: Absent if the token was never used.
    """

    id: str
    account_id: str
    workspace_id: str
    name: str
    scopes: list[Literal["admin", "mcp", "members", "read", "run", "write"]]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class Totp(Model):
    """The schema `TotpAnswer` of the API.

    Attributes:
        secret: For apps without a camera, in base 32. It is not shown again.
        uri: The `otpauth` URI that apps read.
        qr_code: The URI as a picture, in a data URI.
    """

    id: str
    secret: str
    uri: str
    qr_code: str


class Trial(Model):
    """The schema `TrialAnswer` of the API.

    Attributes:
        status: `waiting`: the node would wait now. `opened`: the nodes inside it would run now.
        has_effects: A node of this type may have had effects outside.
        params: The evaluated parameters. Null if they could not be evaluated.
        result: Only of a completed or skipped node.
        scopes: The keys of the rounds or branches that it would begin.
        duration: Milliseconds.
    """

    status: Literal["completed", "failed", "opened", "skipped", "waiting"]
    has_effects: bool
    node_type: str
    params: Any
    result: Any
    action: str | None
    error: TrialError | None
    wait: TrialWait | None
    scopes: list[str] | None
    logs: list[TrialLine]
    duration: int


class TrialError(Model):
    """The schema `TrialError` of the API."""

    type: str
    message: str
    node: str | None
    data: Any


class TrialLine(Model):
    """The schema `TrialLineAnswer` of the API."""

    level: Literal["debug", "error", "info", "warn"]
    message: str
    data: Any


class TrialWait(Model):
    """The schema `TrialWait` of the API.

    Attributes:
        waiting_for: As in `waiting_for` of an execution.
        until: Absent if it would wait indefinitely.
    """

    waiting_for: dict[str, Any]
    until: datetime | None


class Trigger(Model):
    """The schema `TriggerAnswer` of the API.

    Attributes:
        state: `failing` after several failed starts; `paused` also while its flow is disabled.
        schedule: Of a schedule: its times. Null for other types.
        next_at: When a schedule starts the flow next.
        last_at: When it last started the flow.
        url: Path of a webhook on this server; its secret part only for those who may write.
        error: Why the last start failed.
        warning: Why it starts nothing although it is armed: its workspace does not have the flow it names.
        skipped: Due times without a start, because an execution was open.
        missed: Due times without a start, because they were found too late: of each outage, at most 1000.
    """

    id: str
    flow_id: str
    flow_name: str
    name: str
    type: Literal["execution", "schedule", "webhook"]
    state: Literal["armed", "ended", "failing", "paused"]
    schedule: Schedule | None
    next_at: datetime | None
    last_at: datetime | None
    last_execution_id: str | None
    url: str | None
    error: str | None
    warning: str | None
    skipped: int
    missed: int


class UntakenEdge(Model):
    """The schema `UntakenEdgeAnswer` of the API."""

    node: str
    action: str
    target: str


class Usage(Model):
    """The schema `UsageAnswer` of the API.

    Attributes:
        store_bytes: Bytes of the values in its store, as JSON.
        stored: Bytes of its flows, secrets, configuration values, store and executions.
    """

    flows: int
    secrets: int
    config_values: int
    store_keys: int
    store_bytes: int
    open_executions: int
    members: int
    stored: int
    limits: Limits


class Validation(Model):
    """The schema `Validation` of the API.

    Attributes:
        is_valid: `true` if the definition can be saved.
        errors: Faults that prevent saving, in document order.
        warnings: Valid but probably unintended constructs, and dependencies that are missing at run time.
    """

    is_valid: bool
    errors: list[Fault]
    warnings: list[Fault]


class WaitingFor(Model):
    """The schema `WaitingFor` of the API.

    Attributes:
        type: retry, delay, signal, approval, flow, concurrency, room, or a type defined by the node type.
        step: The step, such as fetch.1, or each.1[4]/push.1 in a loop.
        until: The time at which the step continues on its own; null if it never does.
    """

    type: str
    node: str | None
    step: str | None
    until: datetime | None


class Workspace(Model):
    """The schema `WorkspaceAnswer` of the API.

    Attributes:
        slug: A unique name, which the header `Flowrunner-Workspace` and paths accept.
        role: The caller's role.
        requires_second_factor: Members who log in with a password need a second factor to act in it.
    """

    id: str
    name: str
    slug: str
    role: Literal["admin", "editor", "operator", "viewer"]
    created_at: datetime
    requires_second_factor: bool
