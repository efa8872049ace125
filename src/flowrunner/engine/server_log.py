"""Lines about executions in the server's log: names, numbers and error types, never values of users."""

import logging
from datetime import datetime
from typing import Any

import structlog

from flowrunner.domain.events import Failure, NodeCompleted, NodeFailed, Step
from flowrunner.domain.execution import ExecutionState, StepStatus
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId

logger = structlog.get_logger()


def logs_steps() -> bool:
    """Return whether each step has a line in the log, which only `log_level=debug` enables."""
    enabled: bool = logger.is_enabled_for(logging.DEBUG)
    return enabled


def step_facts(event: NodeCompleted | NodeFailed, state: ExecutionState, at: datetime) -> dict[str, Any]:
    """Return the fields of `step.finished` for a step that is about to end or to be retried."""
    step = Step(event.node, event.iteration, event.scope)
    facts: dict[str, Any] = {
        "step": str(step),
        "node": event.node,
        "type": event.node_type,
        "attempt": event.attempt,
        "duration_ms": round((at - state.at(step).started_at).total_seconds() * 1000),
    }
    if isinstance(event, NodeCompleted):
        return {**facts, "state": (StepStatus.SKIPPED if event.skipped else StepStatus.COMPLETED).value}
    status = StepStatus.FAILED if event.retry_at is None else StepStatus.RETRYING
    return {**facts, "state": status.value, "error_type": event.error.type}


def log_step(execution_id: ExecutionId, workspace_id: WorkspaceId, facts: dict[str, Any]) -> None:
    logger.debug("step.finished", execution_id=execution_id, workspace_id=workspace_id, **facts)


def log_failed(execution_id: ExecutionId, workspace_id: WorkspaceId, flow_id: FlowId, error: Failure) -> None:
    """Log a failed execution, once its end is durable."""
    logger.info(
        "execution.failed",
        execution_id=execution_id,
        workspace_id=workspace_id,
        flow_id=flow_id,
        node=error.node,
        error_type=error.type,
    )
