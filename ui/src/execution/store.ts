/** One execution as its screen shows it: loaded once, and renewed by its events until it has ended. */
import { computed, signal } from "@preact/signals";
import { api, ApiError, type Schemas } from "../api/client";
import { GraphStates, type NodeState, type NodeStatus } from "../graph/states";
import { duration } from "../parts/format";
import { common } from "../texts/common";
import { executions as texts } from "../texts/executions";
import { pathOf, scopeOf, turnsOf } from "./names";
import { decisiveOf } from "./selection";
import { EventStream, type EventMessage } from "./stream";

export type Detail = Schemas["ExecutionDetailAnswer"];
export type Step = Schemas["StepListItem"];
export type Graph = Schemas["GraphAnswer"];
export type Preview = Schemas["PreviewAnswer"];

export const FINAL = new Set(["completed", "failed", "cancelled"]);
/** Steps that are listed at most, and those of loops and branches; others are read when they are asked for. */
export const MOST_STEPS = 2000;
const PAGE = 500;
/** Rounds and steps beyond those that are listed that stay shown; the one asked for first goes first. */
const MOST_ASKED = 20;
/** Milliseconds between two loads while events arrive, for each page of steps: all are loaded again. */
const PACE = 700;

/** The steps of a scope, one step by its name, or all of them. */
interface Which {
  readonly scope?: string;
  readonly step?: string;
}

export class ExecutionStore {
  readonly detail = signal<Detail | undefined>(undefined);
  readonly graph = signal<Graph | undefined>(undefined);
  readonly steps = signal<Step[]>([]);
  readonly turns = computed(() => turnsOf(this.steps.value));
  /** Not all steps are listed. */
  readonly isCut = signal(false);
  readonly error = signal<ApiError | undefined>(undefined);
  readonly stream = signal<EventStream | undefined>(undefined);
  readonly isLive = computed(() => this.detail.value !== undefined && !FINAL.has(this.detail.value.status));
  /** Grows with each renewal, so that logs are read again; 0 until the graph and the steps are there. */
  readonly version = signal(0);
  /** The step that has failed, or waits for somebody or its next attempt; the last one of these after it went on. */
  readonly decisive = signal<string | undefined>(undefined);
  /** What was found beyond the steps that are listed. */
  private readonly asked = new Map<string, Which>();
  /** When nodes have ended, as far as that was loaded. */
  private readonly ended = new Map<string, string>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isLoading = false;
  private isDue = false;
  private isClosed = false;

  constructor(readonly id: string, readonly states: GraphStates = new GraphStates()) {
    void this.load();
  }

  private follow(): void {
    this.stream.value = new EventStream(this.id, 0, (events) => this.apply(events), (after) => this.catchUp(after));
  }

  /** Ask whether the execution can be read, and show how it is now: the next connection may fail as well. */
  private async catchUp(after: number): Promise<void> {
    await this.read();
    try {
      await api.get("/api/v1/executions/{id}/events", { path: { id: this.id }, query: { after: `${after}`, limit: 1 } });
    } catch (error) {
      // A restore has undone events that are shown.
      if (error instanceof ApiError && error.status === 422) window.location.reload();
      throw error;
    }
    void this.load();
  }

  private read(): Promise<Detail> {
    return api.get("/api/v1/executions/{id}", { path: { id: this.id }, query: { view: "preview" } });
  }

  /** Load everything again; if that is under way, once more after it. */
  load = async (): Promise<void> => {
    if (this.isLoading) {
      this.isDue = true;
      return;
    }
    this.isLoading = true;
    try {
      const [detail, graph, steps] = await Promise.all([
        this.read().then((read) => {
          // The head and the data need not wait for the steps.
          if (this.version.peek() === 0 && !this.isClosed) this.show(read);
          return read;
        }),
        api.get("/api/v1/executions/{id}/graph", { path: { id: this.id } }).then(withCalls, ignoreMissing),
        this.readSteps(),
      ]);
      if (this.isClosed) return;
      this.show(detail);
      this.steps.value = steps;
      if (graph !== undefined) this.showGraph(graph, detail);
      this.error.value = undefined;
      this.version.value += 1;
      const stream = this.stream.peek();
      // The first load that succeeds may not be the first one.
      if (this.isLive.peek() && stream === undefined) this.follow();
      // Nothing more is expected of a connection that is still tried.
      if (!this.isLive.peek() && stream?.state.peek() !== "live") stream?.close();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.error.value = error;
    } finally {
      this.isLoading = false;
      if (this.isDue && !this.isClosed) {
        this.isDue = false;
        void this.load();
      }
    }
  };

  /** The flow's own steps and those in loops and branches, as many of both as are listed, and what was asked for. */
  private async readSteps(): Promise<Step[]> {
    const own = await this.pages({ scope: "" });
    const all = own.steps.some(({ scopes }) => scopes !== undefined) ? await this.pages({}) : own;
    this.isCut.value = own.isCut || all.isCut;
    const asked = await Promise.all([...this.asked.values()].map((which) => this.page(which)));
    return merged(own.steps, all.steps, ...asked.map(({ steps }) => steps));
  }

  /** Load the steps of a round or a branch; return them. */
  scope(name: string): Promise<Step[]> {
    return this.more({ scope: name });
  }

  /** Load a step that is not listed, with those of its round or branch. */
  find(step: string): Promise<Step[]> {
    const scope = scopeOf(step);
    return this.more(scope === "" ? { step } : { scope });
  }

  private async more(which: Which): Promise<Step[]> {
    const { steps } = await this.page(which);
    // Each load asks for it again.
    if (steps.length > 0) this.remember(which);
    this.steps.value = merged(this.steps.peek(), steps);
    return steps;
  }

  private remember(which: Which): void {
    const key = JSON.stringify(which);
    this.asked.delete(key);
    this.asked.set(key, which);
    if (this.asked.size > MOST_ASKED) this.asked.delete(this.asked.keys().next().value!);
  }

  private async pages(which: Which): Promise<{ steps: Step[]; isCut: boolean }> {
    const steps: Step[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.page(which, cursor);
      steps.push(...page.steps);
      cursor = page.next_cursor;
    } while (cursor !== undefined && steps.length < MOST_STEPS);
    return { steps, isCut: cursor !== undefined };
  }

  private page(which: Which, cursor?: string): Promise<Schemas["StepList"]> {
    return api.get("/api/v1/executions/{id}/steps", { path: { id: this.id }, query: { ...which, cursor, limit: PAGE } });
  }

  private show(detail: Detail): void {
    this.detail.value = detail;
    this.decisive.value = decisiveOf(detail, this.decisive.peek());
  }

  private showGraph(graph: Graph, detail: Detail): void {
    const before = this.graph.peek();
    // The graph of an execution does not change, only its states; the picture must not be laid out again.
    if (before === undefined || before.nodes.length !== graph.nodes.length) this.graph.value = graph;
    const isFinal = FINAL.has(detail.status);
    const runs = new Map(this.steps.peek().filter(({ scopes }) => scopes).map((step) => [pathOf(step.step), step]));
    for (const node of graph.nodes) {
      if (node.completed_at !== undefined) this.ended.set(node.id, node.completed_at);
      const ran = Object.values(node.runs as Record<string, number>).reduce((sum, runs) => sum + runs, 0);
      const failed = (node.runs as Record<string, number>)["failed"] ?? 0;
      const status = (node.parent !== undefined && failed > 0 ? "failed" : node.status ?? (isFinal ? "untaken" : "pending")) as NodeStatus;
      const took = node.parent === undefined && node.started_at !== undefined && node.completed_at !== undefined ? Date.parse(node.completed_at) - Date.parse(node.started_at) : undefined;
      this.states.setNode(node.id, {
        status,
        time: ran > 1 ? undefined : took === undefined ? undefined : duration(took),
        detail: ran > 1 ? texts.ran(ran, failed) : progressOf(runs.get(node.id)),
      });
    }
    for (const edge of graph.edges) this.states.setLink(edge.source, edge.target, edge.taken > 0);
  }

  /** Show at once what the events say of nodes, and load the rest soon. */
  private apply(events: EventMessage[]): void {
    for (const event of events) {
      if (event.step === undefined) continue;
      const status = statusOf(event);
      const isInScope = event.step.includes("/");
      const path = pathOf(event.step);
      if (status === "running") this.states.begin(path);
      // What was loaded knows more than the events before it.
      if (status !== undefined && event.timestamp >= (this.ended.get(path) ?? "")) this.states.change(path, (before) => stateAfter(before, status, isInScope));
    }
    const hasEnded = events.some(({ type, status }) => type !== "log" && type !== "node_completed" && status !== undefined && FINAL.has(status));
    if (hasEnded) {
      clearTimeout(this.timer);
      this.timer = undefined;
      void this.load();
    } else {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        void this.load();
      }, PACE * Math.ceil((this.steps.peek().length + 1) / PAGE));
    }
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.stream.peek()?.close();
  }
}

/** Return a graph with what leads from the question of an agent to its tools, and to the question from what lists tools. */
export function withCalls(graph: Graph): Graph {
  const agents = new Set(graph.nodes.filter(({ node_type: type }) => type === "agent").map(({ id }) => id));
  const calls = graph.nodes.filter(({ parent, node_id: name }) => agents.has(parent!) && name !== "ask").map(({ id, parent, node_id: name, runs }) => {
    const ask = `${parent}/ask`;
    const [source, target] = name.startsWith("list ") ? [id, ask] : [ask, id];
    return { source, target, action: "default", taken: Object.keys(runs).length };
  });
  return { ...graph, edges: [...graph.edges, ...calls] };
}

/** Return steps of several lists in the order of their starts; of one that is in two, the later list's counts. */
function merged(...lists: readonly (readonly Step[])[]): Step[] {
  const byId = new Map(lists.flat().map((step) => [step.id, step]));
  return [...byId.values()].sort((a, b) => a.id - b.id);
}

/** An execution whose revision was deleted has no graph. */
function ignoreMissing(error: unknown): undefined {
  if (error instanceof ApiError && (error.status === 404 || error.status === 409)) return undefined;
  throw error;
}

/**
 * Return the state of a node after one of its runs has got a status. The sums over the rounds of a loop stay until they are counted
 * again, and so does a failure of one of them.
 */
export function stateAfter(before: NodeState | undefined, status: NodeStatus, isInScope: boolean): NodeState {
  if (before !== undefined && (before.status === status || (isInScope && before.status === "failed"))) return before;
  return { status, detail: before?.detail };
}

export function statusOf(event: EventMessage): NodeStatus | undefined {
  if (event.type === "node_completed") return event.skipped ? "skipped" : "completed";
  if (event.type !== "execution_update") return undefined;
  if (event.waiting_for !== undefined) return "waiting";
  if (event.retry_at !== undefined) return "retrying";
  if (event.error !== undefined) return "failed";
  return event.attempt !== undefined || event.scopes !== undefined ? "running" : undefined;
}

/** Return whether the failed elements of a loop, or the calls that an agent failed with, can run again by themselves. */
export function hasFailedElements(step: Step | undefined): boolean {
  const isOf = step?.node_type === "foreach" || (step?.node_type === "agent" && step.status === "failed");
  return isOf && (step?.scopes?.failed ?? 0) > 0;
}

/** Return how far a loop is, such as "37 of 40"; undefined for a step that is none. */
export function progressOf(step: Step | undefined): string | undefined {
  const scopes = step?.scopes;
  if (scopes === undefined || step?.node_type === "parallel") return undefined;
  // Nobody knows how many rounds other loops will have.
  return step?.node_type === "foreach" ? common.shown(scopes.completed, scopes.total) + texts.failedToo(scopes.failed) : texts.countOfRounds(scopes.total, step?.node_type === "agent");
}
