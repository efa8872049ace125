/** Words of the log of an execution alone. */
import { counted } from "../parts/format";

export const logs = {
  moreLines: (count: number, total: number) => `Only the first ${count.toLocaleString("en")} of ${total.toLocaleString("en")} lines are in the file`,
  levels: { "": "All levels", error: "Errors", warn: "Warnings and errors", info: "Info and above" } as Record<string, string>,
  anyNode: "Any node",
  anyAttempt: "Any attempt",
  attemptNumber: (attempt: number) => `Attempt ${attempt}`,
  lines: (count: number) => counted(count, "line"),
  search: "Text in the message",
  noLog: "No line matches",
  noLogHint: "No line of this log matches these filters.",
  nothingLogged: "Nothing logged yet",
  nothingLoggedHint: "Nodes of type log and console.log in scripts write lines here.",
  saveLog: "Save as a file",
  copyLink: "Copy the link",
  showStep: "Show the step",
  logLabel: "Log lines",
  level: "Level",
  node: "Node",
  attempt: "Attempt",
};
