/** Words of the trial of one node. */
import { counted } from "../parts/format";

export const trial = {
  warning: "The node really runs: it sends its requests, with the secrets of the workspace. Nothing is recorded.",
  from: "Values of a past execution",
  none: "Enter them by hand",
  loading: "Loading its values…",
  notRun: "That execution did not run this node.",
  input: "Input: the result of the node before",
  flowInput: "Input of the flow",
  results: "Results of other nodes, by name",
  item: "Element of the loop",
  broken: "This is not valid JSON or YAML",
  notMap: "Write a map: {a: 1}",
  run: "Try it",
  running: "Running…",
  params: "Parameters, evaluated",
  result: "Result",
  log: "Log",
  action: (name: string) => `action ${name}`,
  opened: (count: number) => `It would run the nodes inside ${counted(count, "time")} now.`,
  waits: "It would wait now.",
  statuses: { completed: "completed", failed: "failed", opened: "opened", skipped: "skipped", waiting: "would wait" } as Record<string, string>,
};
