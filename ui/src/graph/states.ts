/** The states of nodes and links, one signal each, changed at most once in each frame. */
import { signal, batch, type ReadonlySignal, type Signal } from "@preact/signals";
import { linkKey } from "./model";

/** `pending` may still run; `untaken` will not. No state at all is a flow that does not run. */
export type NodeStatus =
  | "pending"
  | "untaken"
  | "running"
  | "retrying"
  | "waiting"
  | "completed"
  | "skipped"
  | "failed"
  | "cancelled";

export interface NodeState {
  readonly status: NodeStatus;
  /** Short text at the right, such as a duration. */
  readonly time?: string;
  /** Short text after the type, such as `37 of 40`. */
  readonly detail?: string;
}

/** Where a picture reads the states of its nodes and links. */
export interface StateSource {
  node(id: string): ReadonlySignal<NodeState | undefined>;
  link(source: string, target: string): ReadonlySignal<boolean>;
}

export class GraphStates implements StateSource {
  /** The node that has begun last, as far as this was followed. */
  readonly latest = signal<string | undefined>(undefined);
  private readonly nodes = new Map<string, Signal<NodeState | undefined>>();
  private readonly links = new Map<string, Signal<boolean>>();
  private readonly nextNodes = new Map<string, NodeState | undefined>();
  private readonly nextLinks = new Map<string, boolean>();
  private isAsked = false;

  /** Args: frame: Runs a function once before the next picture. */
  constructor(private readonly frame: (flush: () => void) => void = (flush) => requestAnimationFrame(flush)) {}

  node(id: string): Signal<NodeState | undefined> {
    let found = this.nodes.get(id);
    if (found === undefined) this.nodes.set(id, (found = signal<NodeState | undefined>(undefined)));
    return found;
  }

  /** True once the execution has taken the link. */
  link(source: string, target: string): Signal<boolean> {
    const key = linkKey(source, target);
    let found = this.links.get(key);
    if (found === undefined) this.links.set(key, (found = signal(false)));
    return found;
  }

  setNode(id: string, state: NodeState | undefined): void {
    this.nextNodes.set(id, state);
    this.ask();
  }

  /** Set the state that follows from the present one. */
  change(id: string, next: (before: NodeState | undefined) => NodeState): void {
    this.setNode(id, next(this.nextNodes.has(id) ? this.nextNodes.get(id) : this.node(id).peek()));
  }

  begin(id: string): void {
    this.latest.value = id;
  }

  setLink(source: string, target: string, isTaken: boolean): void {
    this.nextLinks.set(linkKey(source, target), isTaken);
    this.ask();
  }

  private ask(): void {
    if (this.isAsked) return;
    this.isAsked = true;
    this.frame(() => this.flush());
  }

  /** Show now what was set since the last frame. */
  flush(): void {
    this.isAsked = false;
    batch(() => {
      for (const [id, state] of this.nextNodes) {
        const at = this.node(id);
        if (!isSame(at.peek(), state)) at.value = state;
      }
      for (const [key, isTaken] of this.nextLinks) {
        const [source, target] = key.split("\n") as [string, string];
        this.link(source, target).value = isTaken;
      }
    });
    this.nextNodes.clear();
    this.nextLinks.clear();
  }
}

function isSame(a: NodeState | undefined, b: NodeState | undefined): boolean {
  return a?.status === b?.status && a?.time === b?.time && a?.detail === b?.detail;
}
