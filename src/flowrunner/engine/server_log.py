"""What the server's log tells of executions: names, numbers and error types, and no value that they work with."""

import logging
from datetime import datetime
from typing import Any

import structlog

from flowrunner.domain.events import Failure, NodeCompleted, NodeFailed, Step
from flowrunner.domain.execution import ExecutionState, StepStatus
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId

logger = structlog.get_logger()


def logs_steps() -> bool:
    """Return whether steps have lines in the log: they are many, and have so with `log_level=debug` alone."""
    enabled: bool = logger.is_enabled_for(logging.DEBUG)
    return enabled


def step_facts(event: NodeCompleted | NodeFailed, state: ExecutionState, at: datetime) -> dict[str, Any]:
    """Return what `step.finished` tells of a step that is about to end, or to be tried again."""
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
    """Log an execution that has failed, once that is durable."""
    logger.info(
        "execution.failed",
        execution_id=execution_id,
        workspace_id=workspace_id,
        flow_id=flow_id,
        node=error.node,
        error_type=error.type,
    )
