/** Words of what is done to many executions at once. */
import { counted } from "../parts/format";

export const jobs = {
  keepRunning: "Keep them running",
  titles: { rerun: "Re-run these executions?", cancel: "Cancel these executions?", delete: "Delete these executions?" } as Record<string, string>,
  hints: {
    rerun: "Each runs again, with its input and the current revision of its flow.",
    cancel: "Running nodes are stopped, and waiting ones are abandoned. The on_finish of each flow still runs.",
    delete: "Input, result, steps, log and events of each are deleted, and cannot be restored. The audit log keeps that you did it.",
  } as Record<string, string>,
  confirm: {
    rerun: (count: number) => `Re-run ${counted(count, "execution")}`,
    cancel: (count: number) => `Cancel ${counted(count, "execution")}`,
    delete: (count: number) => `Delete ${counted(count, "execution")}`,
  } as Record<string, (count: number) => string>,
  from: "Begin at node (optional)",
  fromHint: "What was before it keeps its results. Empty: everything runs again.",
  onlyFailed: "It is a loop: only its elements that have not completed",
  noSubFlows: "Without sub-flows: what waited for them starts them again",
  none: "No execution matches: there is nothing to do.",
  counting: "Counting…",
  first: "Among them",
  allMatching: "All that match the filters",
  allNotRerun: "All that match the filters, without those that have been re-run since",
  onlySelected: (count: number) => `Only the ${count} selected`,
  progress: (done: number, total: number, isStarting: boolean) => `${done.toLocaleString("en")} of ${total.toLocaleString("en")} ${isStarting ? "started" : "done"}`,
  started: "Show what it has started",
  failed: (count: number) => `${count.toLocaleString("en")} failed`,
  names: { "executions.rerun": "Re-running", "executions.cancel": "Cancelling", "executions.delete": "Deleting", "triggers.backfill": "Backfilling" } as Record<string, string>,
  ended: { completed: "Finished", failed: "Failed", cancelled: "Stopped" } as Record<string, string>,
  stop: "Stop",
  dismiss: "Dismiss",
};
