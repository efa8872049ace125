/** Words of the editor of flows. */
import { counted } from "../parts/format";

export const editor = {
  addMissing: "Add it…",
  timesIn: (zone: string) => `Times are those of ${zone}.`,
  label: "Flow definition",
  problems: "Problems",
  noProblems: "No problems",
  checking: "Checking…",
  offline: "The server could not check this text",
  errors: (count: number) => counted(count, "error"),
  warnings: (count: number) => counted(count, "warning"),
  goTo: (line: number, column: number) => `${line}:${column}`,
  fix: (text: string) => (text === "" ? "Remove it" : `Change to ${text}`),
  stale: "Syntax error: the graph shows the last valid text",
  defaultIs: (value: string) => `Default: ${value}`,
  oneOf: (values: string) => `One of: ${values}`,
  unsaved: "unsaved changes",
  draftRestored: (time: string) => `Unsaved changes from ${time} were restored.`,
  discard: "Discard them",
  discardAll: "Discard all unsaved changes",
  save: "Save",
  format: "Format",
  test: "Test",
  run: "Run…",
  cannotFormat: "The text has syntax errors: fix them first",
};
