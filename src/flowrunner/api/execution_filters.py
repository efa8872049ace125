"""Filters of lists of executions, as requests name them."""

from collections.abc import Sequence
from typing import Final, Literal

from flowrunner.domain.errors import invalid
from flowrunner.domain.labels import MAX_TERMS, input_term, job_term, label_term
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, JobId
from flowrunner.ports.executions import ExecutionFilter

LABEL: Final = {
    "name": "label",
    "in": "query",
    "required": False,
    "description": "Only executions with this label, written as `team:core`; of several parameters, with all of them.",
    "schema": {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": MAX_TERMS},
}
INPUT: Final = {
    "name": "input.*",
    "in": "query",
    "required": False,
    "description": "Only executions with this value of an input that their flow declares as `searchable`, such as "
    "`input.order_id=42`; of several parameters, with all of them.",
    "schema": {"type": "string", "maxLength": 1000},
}


def filter_of(
    *,
    flow_id: str | None,
    statuses: Sequence[str],
    error_type: str | None,
    node: str | None,
    trigger: str | None,
    rerun_of: str | None,
    unrepaired: bool,
    parent: Literal["none"] | None = None,
    parent_id: str | None = None,
    job: str | None = None,
    labels: Sequence[str] = (),
    inputs: Sequence[tuple[str, str]] = (),
    within: str = "",
) -> ExecutionFilter:
    """Return the filter that a request names.

    Args:
        statuses: Texts that name one status each, or several separated by commas.
        job: The job that has started an execution.
        labels: Labels as `name:value`, of which an execution has all.
        inputs: Searchable inputs with their values, of which an execution has all.
        within: The place of the values in the request, for errors, such as `filter.`.

    Raises: InvalidInput.
    """
    chosen = _statuses_of(statuses, f"{within}status")
    if unrepaired and set(chosen) - {Status.FAILED}:
        raise invalid(f"{within}status", "must be failed or absent beside unrepaired, which selects failed executions")
    return ExecutionFilter(
        flow_id=None if flow_id is None else FlowId(flow_id),
        # One condition says it: with another one, fewer executions are looked through.
        statuses=[] if unrepaired else chosen,
        error_type=error_type,
        failed_node=node,
        trigger_id=trigger,
        rerun_of=None if rerun_of is None else ExecutionId(rerun_of),
        parent_id=None if parent_id is None else ExecutionId(parent_id),
        is_unrepaired=unrepaired,
        has_no_parent=parent is not None,
        terms=_terms_of(labels, inputs, job, within),
    )


def _terms_of(
    labels: Sequence[str], inputs: Sequence[tuple[str, str]], job: str | None, within: str
) -> Sequence[tuple[str, str]]:
    """Raises: InvalidInput."""
    jobs = [] if job is None else [job_term(JobId(job))]
    if len(labels) + len(inputs) + len(jobs) > MAX_TERMS:
        message = f"at most {MAX_TERMS} labels and inputs can be combined, or one less with a job"
        raise invalid(f"{within}label", message, code="too_long")
    terms = [label_term(text, f"{within}label") for text in labels]
    return [*terms, *(input_term(name, value) for name, value in inputs), *jobs]


def _statuses_of(texts: Sequence[str], field: str) -> list[Status]:
    """Raises: InvalidInput, with the field that has the texts."""
    try:
        return [Status(part.strip()) for text in texts for part in text.split(",")]
    except ValueError:
        raise invalid(field, f"must be one of {', '.join(Status)}, or several separated by commas") from None
