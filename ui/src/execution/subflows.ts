/** Sub-flows in place: the execution that a `flow` node has started is shown inside the node. */
import { computed, signal } from "@preact/signals";
import type { Graph, GraphNode } from "../graph/model";
import { GraphStates, type NodeState } from "../graph/states";
import { pathOf } from "./names";
import { ExecutionStore, type Step } from "./store";

/** Return the id of the execution that a step of a `flow` node has started. */
export function childOf(step: Step): string | undefined {
  const wait = step.wait?.waiting_for as { type: string; execution_id?: string } | undefined;
  return wait?.type === "flow" ? wait.execution_id : undefined;
}

/** Return the run of a node that its picture stands for: the only one, or the only one that has failed. */
export function onlyRun(steps: readonly Step[], node: string): Step | undefined {
  const runs = steps.filter((each) => pathOf(each.step) === node);
  const failed = runs.filter(({ status }) => status === "failed");
  return runs.length === 1 ? runs[0] : failed.length === 1 ? failed[0] : undefined;
}

/** The states of a sub-flow's nodes, which are part of the whole picture. */
class InnerStates extends GraphStates {
  constructor(private readonly outer: GraphStates, private readonly prefix: string) {
    super();
  }

  override setNode(id: string, state: NodeState | undefined): void {
    this.outer.setNode(this.prefix + id, state);
  }

  override change(id: string, next: (before: NodeState | undefined) => NodeState): void {
    this.outer.change(this.prefix + id, next);
  }

  override begin(id: string): void {
    this.outer.begin(this.prefix + id);
  }

  override setLink(source: string, target: string, isTaken: boolean): void {
    this.outer.setLink(this.prefix + source, this.prefix + target, isTaken);
  }
}

/** An execution and a node of it; `prefix` is before the node's id in the whole picture. */
export interface Place {
  readonly store: ExecutionStore;
  readonly prefix: string;
}

export class SubFlows {
  /** The open sub-flows, by the ids of their nodes. */
  private readonly open = signal<ReadonlyMap<string, ExecutionStore>>(new Map());

  constructor(private readonly top: ExecutionStore) {}

  /** The execution and its open sub-flows. */
  get places(): Place[] {
    return [{ store: this.top, prefix: "" }, ...[...this.open.value].map(([node, store]) => ({ store, prefix: `${node}/` }))];
  }

  /** The graph of the execution, with those of the open sub-flows inside their nodes. */
  readonly graph = computed<Graph | undefined>(() => {
    if (this.top.graph.value === undefined) return undefined;
    const graphs = this.places.map(({ store, prefix }) => ({ prefix, answered: store.graph.value }));
    return {
      nodes: graphs.flatMap(({ prefix, answered }) => (answered?.nodes ?? []).map((each): GraphNode => ({
        id: prefix + each.id, label: each.node_id, type: each.node_type, branch: each.branch ?? null, isStart: each.is_start,
        role: each.handles,
        parent: each.parent !== undefined ? prefix + each.parent : prefix === "" ? null : prefix.slice(0, -1),
      }))),
      edges: graphs.flatMap(({ prefix, answered }) => (answered?.edges ?? []).map(({ source, target, action }) => ({ source: prefix + source, target: prefix + target, action }))),
    };
  });

  /** The nodes whose sub-flow can be opened, with the ids of its execution. */
  readonly closed = computed<ReadonlyMap<string, string>>(() => {
    const found = new Map<string, string>();
    for (const { store, prefix } of this.places) {
      for (const node of store.graph.value?.nodes ?? []) {
        const run = node.node_type === "flow" && !this.open.value.has(prefix + node.id) ? onlyRun(store.steps.value, node.id) : undefined;
        const child = run && childOf(run);
        if (child !== undefined) found.set(prefix + node.id, child);
      }
    }
    return found;
  });

  show(node: string): void {
    const child = this.closed.peek().get(node);
    if (child !== undefined) this.open.value = new Map(this.open.peek()).set(node, new ExecutionStore(child, new InnerStates(this.top.states, `${node}/`)));
  }

  /** Return the execution that has a node of the picture. */
  placeOf(node: string): Place {
    return this.places.filter(({ prefix }) => node.startsWith(prefix)).sort((a, b) => b.prefix.length - a.prefix.length)[0]!;
  }

  /** Return the place of an open sub-flow by the id of its execution. */
  placeIn(id: string | null): Place | undefined {
    return id === null ? undefined : this.places.find(({ store }) => store.id === id);
  }

  close(): void {
    for (const store of this.open.peek().values()) store.close();
  }
}
