/** Words of what is done to many executions at once. */
export const jobs = {
  titles: { rerun: "Re-run these executions?", cancel: "Cancel these executions?" } as Record<string, string>,
  hints: {
    rerun: "Each runs again as a whole, with its input and the current revision of its flow.",
    cancel: "What runs now is stopped, and what waits is given up. The on_finish of each flow still runs.",
  } as Record<string, string>,
  confirm: {
    rerun: (count: number) => `Re-run ${count.toLocaleString("en")} ${count === 1 ? "execution" : "executions"}`,
    cancel: (count: number) => `Cancel ${count.toLocaleString("en")} ${count === 1 ? "execution" : "executions"}`,
  } as Record<string, (count: number) => string>,
  none: "No execution fits: there is nothing to do.",
  counting: "Counting…",
  first: "Among them",
  allMatching: "All that fit the filters",
  onlySelected: (count: number) => `The ${count} selected`,
  progress: (done: number, total: number) => `${done.toLocaleString("en")} of ${total.toLocaleString("en")} done`,
  failed: (count: number) => `${count.toLocaleString("en")} could not be done`,
  names: { "executions.rerun": "Re-running", "executions.cancel": "Cancelling", "executions.delete": "Deleting", "triggers.backfill": "Starting what was left out" } as Record<string, string>,
  ended: { completed: "Finished", failed: "Given up", cancelled: "Stopped" } as Record<string, string>,
  stop: "Stop",
  dismiss: "Dismiss",
};
