"""Operations on executions, what they wait for, and jobs about many of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flowrunner.client.answers import Answer
from flowrunner.client.calls import UNCHANGED, Call, Listing, call, listing
from flowrunner.client.models import (
    Approval,
    EventList,
    Execution,
    ExecutionDetail,
    Graph,
    Histogram,
    Job,
    Log,
    Message,
    Overview,
    PlannedJob,
    SignalledExecutions,
    StartedRerun,
    StepDetail,
    StepListItem,
    StepParams,
)
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import key_or_new, request, segment, segments


class Executions(Group[K]):
    """Executions with their steps, logs and events, and the approvals and signals that they wait for."""

    @list_operation("listExecutions")
    def list(
        self,
        *,
        flow: str | None = None,
        flow_id: str | None = None,
        status: Sequence[str] | str | None = None,
        since: str | None = None,
        until: str | None = None,
        error_type: str | None = None,
        node: str | None = None,
        trigger: str | None = None,
        rerun_of: str | None = None,
        job: str | None = None,
        unrepaired: bool | None = None,
        parent: Literal["none"] | None = None,
        parent_id: str | None = None,
        label: Sequence[str] | None = None,
        inputs: Mapping[str, str] | None = None,
        sort: Literal["started_at", "-started_at"] | None = None,
    ) -> Listing[Execution]:
        """List executions, the newest first.

        Args:
            flow: The id or the name of a flow.
            since: RFC 3339, or a date for its beginning in UTC.
            job: Only those that this job started.
            unrepaired: Only those that failed and that no later execution has repaired.
            parent: `none`: only those without a `parent_id`, so no sub-flows.
            parent_id: Only the sub-flows that this execution waits for, or has waited for.
            label: Only those with all of these labels, such as `customer:42`.
            inputs: Only those with these values of inputs that their flow declares as `searchable`.
        """
        return listing(
            "/executions", Execution, flow=flow, flow_id=flow_id, status=status, since=since, until=until,
            error_type=error_type, node=node, trigger=trigger, rerun_of=rerun_of, job=job,
            unrepaired=unrepaired, parent=parent, parent_id=parent_id, label=label, sort=sort,
            **{f"input.{name}": value for name, value in (inputs or {}).items()},
        )  # fmt: skip

    @operation("getExecution")
    def get(self, id: str, *, view: Literal["summary", "preview", "full"] | None = None) -> Call[ExecutionDetail]:
        """Return an execution with its input, result and failure, and what it waits for."""
        return call(ExecutionDetail, "GET", _execution(id), query={"view": view})

    @operation("cancelExecution")
    def cancel(self, id: str, *, force: bool | None = None) -> Call[Message]:
        """Cancel an execution. With `force` it ends at once, without its handlers."""
        return call(Message, "DELETE", _execution(id), query={"force": force})

    @operation("rerunExecution")
    def rerun(
        self,
        id: str,
        *,
        from_: str | None = None,
        elements: Literal["failed"] | None = None,
        node_input: Any = UNCHANGED,
        input: Any = None,
        labels: Mapping[str, str] | None = None,
        revision: int | str | None = None,
        idempotency: Literal["new", "same"] | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Call[StartedRerun]:
        """Start an execution that repeats this one.

        Args:
            from_: The node or step to begin from; what was before it is kept.
            elements: `failed`, if it begins from a loop whose completed elements are kept, too.
            node_input: Another input of the node or step that it begins from, which may be None.
            labels: All labels of the new execution, instead of those of this one.
            revision: A number, `same`, `current` or `label:…`.
            idempotency: `same` sends the keys of the original to other servers.
            wait: Seconds, at most 60, for which the server waits for the end.
        """
        body = {
            "from_": from_, "elements": elements, "input": input, "labels": labels, "revision": revision,
            "idempotency": idempotency,
        }  # fmt: skip
        path, key = f"{_execution(id)}/rerun", key_or_new(idempotency_key)
        return call(StartedRerun, "POST", path, body=body, exact={"node_input": node_input}, key=key, wait=wait)

    @operation("deleteRecord")
    def delete(self, id: str) -> Call[Message]:
        """Delete an execution that has ended, with its events and logs."""
        return call(Message, "DELETE", f"{_execution(id)}/record")

    @list_operation("getLogs")
    def logs(
        self,
        id: str,
        *,
        level: Literal["debug", "info", "warn", "error"] | None = None,
        min_level: Literal["debug", "info", "warn", "error"] | None = None,
        node: str | None = None,
        step: str | None = None,
        attempt: int | None = None,
        q: str | None = None,
    ) -> Listing[Log]:
        """List the lines of the log of an execution, in their order.

        Args:
            step: Only lines of the step with this full name, and of the steps inside it.
            attempt: Only lines that an attempt with this number of any step wrote.
        """
        lines = {"level": level, "min_level": min_level, "node": node, "step": step, "attempt": attempt, "q": q}
        return listing(f"{_execution(id)}/logs", Log, **lines)

    @operation("getEvents")
    def events_page(
        self, id: str, *, after: int | None = None, limit: int | None = None, wait: int | None = None
    ) -> Call[EventList]:
        """Return events after one of them. `Client.events` iterates over all as they happen.

        Args:
            wait: Seconds, at most 60, to wait for an event if there is none yet.
        """
        query = {"after": after, "limit": limit, "wait": wait}
        return call(EventList, "GET", f"{_execution(id)}/events", query=query, seconds=wait or 0)

    @list_operation("listSteps")
    def steps(
        self,
        id: str,
        *,
        scope: str | None = None,
        step: str | None = None,
        node: str | None = None,
        status: str | Sequence[str] | None = None,
    ) -> Listing[StepListItem]:
        """List steps in the order of their starts."""
        return listing(f"{_execution(id)}/steps", StepListItem, scope=scope, step=step, node=node, status=status)

    @operation("getStep")
    def step(self, id: str, step_id: int) -> Call[StepDetail]:
        """Return a step with its whole input and result, and its attempts."""
        return call(StepDetail, "GET", f"{_execution(id)}/steps/{segment(step_id)}")

    @operation("getStepResult")
    def step_result(self, id: str, step_id: int) -> Call[Any]:
        """Return the result of a step alone."""
        made = request("GET", f"{_execution(id)}/steps/{segment(step_id)}/result")
        return Call(request=made, decode=Answer.json)

    @operation("getStepParams")
    def step_params(self, id: str, step_id: int, *, attempt: int | None = None) -> Call[StepParams]:
        """Return the parameters that an attempt of a step was given, the latest by default."""
        return call(StepParams, "GET", f"{_execution(id)}/steps/{segment(step_id)}/params", query={"attempt": attempt})

    @operation("getExecutionGraph")
    def graph(self, id: str) -> Call[Graph]:
        """Return the nodes and edges of the revision that runs, with their states."""
        return call(Graph, "GET", f"{_execution(id)}/graph")

    @operation("sendSignal")
    def signal(self, id: str, key: str, payload: Any = None, *, idempotency_key: str | None = None) -> Call[Message]:
        """Send the signal that a `wait` node waits for, or will wait for."""
        path, sent = f"{_execution(id)}/signals/{segments(key)}", key_or_new(idempotency_key)
        return call(Message, "POST", path, body={"payload": payload}, key=sent)

    @operation("signalExecutions")
    def signal_many(
        self, key: str, payload: Any = None, *, filter: Mapping[str, Any], idempotency_key: str | None = None
    ) -> Call[SignalledExecutions]:
        """Send a signal to the open executions with an input or a label.

        Args:
            filter: Conditions, as those of `list`, such as `{"flow": "orders", "input": {"order_id": "4711"}}`.

        Raises:
            NotFound: No open execution fits.
        """
        body, sent = {"key": key, "payload": payload, "filter": filter}, key_or_new(idempotency_key)
        return call(SignalledExecutions, "POST", "/executions:signal", body=body, key=sent)

    @operation("answerApproval")
    def answer(
        self, id: str, node: str, *, approved: bool, data: Any = None, idempotency_key: str | None = None
    ) -> Call[Message]:
        """Approve or reject what an `approval` node asks for.

        Args:
            node: The node, or the step if several of its steps wait.
        """
        path, key = f"{_execution(id)}/approvals/{segment(node)}", key_or_new(idempotency_key)
        return call(Message, "POST", path, body={"approved": approved, "data": data}, key=key)

    @operation("revokeLink")
    def revoke_link(self, id: str, node: str) -> Call[Message]:
        """Revoke the link that answers an approval. The approval goes on to wait for members."""
        return call(Message, "DELETE", f"{_execution(id)}/approvals/{segment(node)}/link")

    @list_operation("listApprovals")
    def approvals(self) -> Listing[Approval]:
        """List the approvals that wait for the caller in all workspaces, the latest first."""
        return listing("/approvals", Approval)

    @operation("changeExecutions")
    def change_many(
        self,
        action: Literal["rerun", "cancel", "delete"],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        from_: str | None = None,
        elements: Literal["failed"] | None = None,
        revision: int | str | None = None,
        idempotency: Literal["new", "same"] | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Job]:
        """Re-run, cancel or delete many executions, in a job.

        Args:
            filter: Conditions, as those of `list`.
            from_, elements, revision, idempotency: As those of `rerun`, for each execution.
        """
        body = {
            "action": action, "ids": ids, "filter": filter, "from_": from_, "elements": elements, "revision": revision,
            "idempotency": idempotency,
        }  # fmt: skip
        return call(Job, "POST", "/executions:batch", body=body, key=key_or_new(idempotency_key))

    @operation("changeExecutions")
    def plan_many(
        self,
        action: Literal["rerun", "cancel", "delete"],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        from_: str | None = None,
        elements: Literal["failed"] | None = None,
        revision: int | str | None = None,
        idempotency: Literal["new", "same"] | None = None,
    ) -> Call[PlannedJob]:
        """Return the number of executions that `change_many` would change, and the first ones."""
        body = {
            "action": action, "ids": ids, "filter": filter, "from_": from_, "elements": elements, "revision": revision,
            "idempotency": idempotency,
        }  # fmt: skip
        return call(PlannedJob, "POST", "/executions:batch", query={"dry_run": True}, body=body)

    @operation("getOverview")
    def overview(self, *, flows: int | None = None, flow_id: Sequence[str] | None = None) -> Call[Overview]:
        """Return what runs, waits and fails in the workspace, with the latest executions of each flow.

        Args:
            flows: The maximum number of flows, those with the newest executions first; 50 by default.
            flow_id: Ids of the flows to return instead.
        """
        return call(Overview, "GET", "/overview", query={"flows": flows, "flow_id": flow_id})

    @operation("getHistogram")
    def histogram(
        self,
        *,
        flow_id: str | None = None,
        since: str | None = None,
        until: str | None = None,
        buckets: int | None = None,
    ) -> Call[Histogram]:
        """Count executions by status over time, by default of the last day, and their durations."""
        query = {"flow_id": flow_id, "since": since, "until": until, "buckets": buckets}
        return call(Histogram, "GET", "/executions/histogram", query=query)


class Jobs(Group[K]):
    """Jobs about many executions."""

    @list_operation("listJobs")
    def list(self) -> Listing[Job]:
        """List the jobs of the workspace, the newest first."""
        return listing("/jobs", Job)

    @operation("getJob")
    def get(self, id: str) -> Call[Job]:
        """Return a job with its progress and its first errors."""
        return call(Job, "GET", f"/jobs/{segment(id)}")

    @operation("stopJob")
    def stop(self, id: str) -> Call[Message]:
        """Stop a job. What it has done stays done."""
        return call(Message, "DELETE", f"/jobs/{segment(id)}")


def _execution(id: str) -> str:
    return f"/executions/{segment(id)}"
