/** Words of the deletion of an execution. */
export const deletion = {
  title: "Delete this execution?",
  hint: "Its input, result, steps, log and events are deleted, and cannot be restored. The flow and other executions stay, its re-runs and sub-flows too.",
  audited: "The audit log keeps that you have deleted it.",
  confirm: "Delete the execution",
  deleted: "The execution is deleted",
};
