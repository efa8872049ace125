/** Words of the graph of a flow. */
import { counted } from "../parts/format";
import { statuses } from "./common";

export const graph = {
  label: (name: string, nodes: number) => `${name}, ${counted(nodes, "node")}`,
  flow: "Flow graph",
  help: "Arrow keys follow the links. Enter opens a node, Space folds a loop.",
  node: (name: string, type: string, status: string | undefined, targets: readonly string[]) =>
    [name, type, status, targets.length > 0 ? `leads to ${targets.join(", ")}` : undefined].filter(Boolean).join(", "),
  statusOf: (status: string) => GRAPH_STATUSES[status] ?? statuses[status] ?? status,
  hidden: (count: number) => `${counted(count, "node")} inside`,
  fold: (name: string) => `Fold ${name}`,
  unfold: (name: string) => `Unfold ${name}`,
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  fit: "Show all",
  zoom: "Zoom",
  follow: "Follow",
  followHint: "Keep in sight what runs",
  saveAs: (format: string) => `Save as ${format}`,
  tooLarge: "The picture is too large for a PNG file. Save it as SVG instead",
  roles: { failure: "on failure", finish: "on finish", both: "on failure and on finish", notice: "notifies" } as Record<string, string>,
  marks: { added: "added", removed: "removed", changed: "changed", fault: "has a fault" } as Record<string, string>,
  insertAfter: (name: string) => `Insert a node at ${name}`,
  empty: "There are no nodes yet",
};

const GRAPH_STATUSES: Record<string, string> = { pending: "not started", untaken: "not taken" };
