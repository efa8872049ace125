/** Words of executions: those that the list and one execution have in common, and those of one. */
import { counted } from "../parts/format";

export const executions = {
  title: "Executions",
  log: "Log",
  started: "Started",
  took: "Took",
  errors: (count: number) => counted(count, "error"),
  warnings: (count: number) => counted(count, "warning"),

  ran: (runs: number, failed: number) => (failed > 0 ? `${failed.toLocaleString("en")} of ${runs.toLocaleString("en")} failed` : `${runs.toLocaleString("en")} runs`),
  attemptsOf: (count: number) => `${count} attempts`,
  failedToo: (failed: number) => (failed > 0 ? `, ${failed.toLocaleString("en")} failed` : ""),
  countOfRounds: (count: number, isAgent: boolean) => counted(count, isAgent ? "step" : "round"),

  tabs: "Views of the execution",
  graph: "Graph",
  timeline: "Timeline",
  logs: "Logs",
  data: "Data",
  live: "live",
  connecting: "connecting",
  reconnecting: "reconnecting",
  stale: "no connection: this may be outdated",
  gone: "it was deleted, or you are no longer a member",
  rerun: "Re-run",
  rerunHint: "From the start, with the same input",
  rerunEdited: "Re-run with edits…",
  rerunFrom: (node: string) => `Re-run from ${node}`,
  rerunStarted: "The re-run has started",
  cancel: "Cancel…",
  toApproval: "Show the approval",
  replay: "Replay",
  noGraph: "There is no graph",
  noGraphHint: "The revision that ran has been deleted. The timeline, the logs and the data are still there.",

  result: "Result",

  steps: "Steps",
  waits: "Waits for",
  others: (count: number) => counted(count, "other"),

};
