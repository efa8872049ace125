/** An execution as it was after each of its events: the states of its nodes, the edges it had taken, its log. */
import type { NodeStatus } from "../graph/states";
import { isErrorAction } from "../graph/model";
import { pathOf } from "./names";
import { FINAL, statusOf } from "./store";
import type { EventMessage } from "./stream";

export interface Edge {
  source: string;
  target: string;
  action: string;
}

export interface Moment {
  nodes: Map<string, NodeStatus>;
  /** The status of all nodes that have not run. */
  others: "pending" | "untaken";
  /** Edges that were taken, as `source\ntarget`. */
  links: Set<string>;
  /** The last lines of the log, the oldest first. */
  lines: EventMessage[];
}

const LINES = 8;

/** Return the execution after the first `count` events. */
export function momentAfter(events: readonly EventMessage[], count: number, edges: readonly Edge[]): Moment {
  const moment: Moment = { nodes: new Map(), others: "pending", links: new Set(), lines: [] };
  // By which action each node was left last; undefined if it has failed.
  const left = new Map<string, string | undefined>();
  // The step of each node that has not ended.
  const open = new Map<string, string>();
  const cutOff = (within: string) => {
    for (const [path, step] of open) if (step.startsWith(within) && open.delete(path)) moment.nodes.set(path, "cancelled");
  };
  for (const event of events.slice(0, count)) {
    if (event.type === "log") moment.lines.push(event);
    if (event.step === undefined) {
      if (event.scope_outcome !== undefined) cutOff(`${event.scope}/`);
      else if (FINAL.has(event.status ?? "")) {
        cutOff("");
        moment.others = "untaken";
      }
      continue;
    }
    const path = pathOf(event.step);
    const status = statusOf(event);
    if (status === undefined) continue;
    if (status === "running" && event.attempt !== undefined && !moment.nodes.has(path)) enter(moment, left, edges, path);
    moment.nodes.set(path, status);
    if (status === "completed" || status === "skipped" || status === "failed") {
      // A skipped node takes `default` if it has no edge for that.
      const takesDefault = event.skipped && !edges.some(({ source, action }) => source === path && action === event.action);
      left.set(path, takesDefault ? "default" : event.action);
      open.delete(path);
    } else open.set(path, event.step);
  }
  moment.lines = moment.lines.slice(-LINES);
  return moment;
}

function enter(moment: Moment, left: Map<string, string | undefined>, edges: readonly Edge[], path: string): void {
  for (const { source, target, action } of edges) {
    if (target !== path || !left.has(source)) continue;
    const by = left.get(source);
    if (by === undefined ? isErrorAction(action) : by === action) moment.links.add(`${source}\n${target}`);
  }
}
