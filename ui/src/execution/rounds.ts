/** One round of a loop in the graph: what its steps did, instead of the sums over all rounds. */
import { computed, type ReadonlySignal } from "@preact/signals";
import { isErrorAction } from "../graph/model";
import type { NodeState, NodeStatus, StateSource } from "../graph/states";
import { duration } from "../parts/format";
import { executions as texts } from "../texts/executions";
import { pathOf, runOf, type Turns } from "./names";
import type { Graph, Step } from "./store";

export interface Round {
  /** The scope of its steps: `each.1[4]`. */
  readonly scope: string;
  /** The path of the loop in the graph: `each`. */
  readonly loop: string;
  /** Its name for people. */
  readonly name: string;
  /** The scopes of its steps: one, or those of all calls of an agent's turn. */
  readonly scopes: readonly string[];
}

/** Return the rounds that a step is in, the outermost first. */
export function roundsOf(step: string, turns?: Turns): Round[] {
  const parts = step.split("/");
  return parts.flatMap((part, i) => {
    if (!/\[\d+\]$/.test(part)) return [];
    const scope = parts.slice(0, i + 1).join("/");
    return [{ scope, loop: pathOf(scope.replace(/\[\d+\]$/, "")), name: runOf(scope, turns), scopes: turns?.get(scope)?.scopes ?? [scope] }];
  });
}

/** Return whether a step is one of a round. */
export function isIn({ scopes }: Round, step: string): boolean {
  return scopes.some((scope) => step.startsWith(`${scope}/`));
}

/** Return the innermost of the rounds that hold a node of the graph. */
export function roundAround(rounds: readonly Round[], node: string): Round | undefined {
  return rounds.filter(({ loop }) => node.startsWith(`${loop}/`)).at(-1);
}

/** The rounds that are chosen, and the execution that they are of. */
export interface Chosen {
  readonly rounds: readonly Round[];
  /** What is before its nodes in the picture; empty but for sub-flows. */
  readonly prefix: string;
  readonly steps: readonly Step[];
  readonly edges: Graph["edges"];
  readonly isLive: boolean;
}

/** The states of a picture in which loops stand for one of their rounds. */
export class RoundStates implements StateSource {
  private readonly nodes = new Map<string, ReadonlySignal<NodeState | undefined>>();
  private readonly links = new Map<string, ReadonlySignal<boolean>>();
  /** The runs of each node, by scope of the round and path. */
  private readonly runs = computed(() => {
    const found = new Map<string, Step[]>();
    for (const step of this.chosen.value?.steps ?? []) {
      const path = pathOf(step.step);
      const round = roundAround(this.chosen.value!.rounds, path);
      if (round !== undefined && isIn(round, step.step)) found.set(path, [...(found.get(path) ?? []), step]);
    }
    return found;
  });

  constructor(private readonly all: StateSource, private readonly chosen: ReadonlySignal<Chosen | undefined>) {}

  node(id: string): ReadonlySignal<NodeState | undefined> {
    let found = this.nodes.get(id);
    if (found === undefined) this.nodes.set(id, (found = computed(() => this.stateOf(id) ?? this.all.node(id).value)));
    return found;
  }

  link(source: string, target: string): ReadonlySignal<boolean> {
    const key = `${source}\n${target}`;
    let found = this.links.get(key);
    if (found === undefined) this.links.set(key, (found = computed(() => this.isTaken(source, target) ?? this.all.link(source, target).value)));
    return found;
  }

  private stateOf(id: string): NodeState | undefined {
    const chosen = this.chosen.value;
    if (chosen === undefined || !id.startsWith(chosen.prefix)) return undefined;
    const path = id.slice(chosen.prefix.length);
    const own = chosen.rounds.find(({ loop }) => loop === path);
    const inside = roundAround(chosen.rounds, path);
    if (inside === undefined && own === undefined) return undefined;
    const state = inside === undefined ? this.all.node(id).value : summed(this.runs.value.get(path) ?? [], chosen.isLive);
    return own === undefined || state === undefined ? state : { ...state, detail: own.name };
  }

  private isTaken(source: string, target: string): boolean | undefined {
    const chosen = this.chosen.value;
    if (chosen === undefined || !source.startsWith(chosen.prefix)) return undefined;
    const [from, to] = [source.slice(chosen.prefix.length), target.slice(chosen.prefix.length)];
    if (roundAround(chosen.rounds, from) === undefined) return undefined;
    if (!this.runs.value.has(to)) return false;
    const edges = chosen.edges.filter((edge) => edge.source === from && edge.target === to);
    return (this.runs.value.get(from) ?? []).some((step) => edges.some(({ action }) => (step.status === "failed" ? isErrorAction(action) : step.status === "completed" && action === (step.action ?? "default"))));
  }
}

function summed(runs: readonly Step[], isLive: boolean): NodeState {
  const [first] = runs;
  if (first === undefined) return { status: isLive ? "pending" : "untaken" };
  const failed = runs.filter(({ status }) => status === "failed").length;
  const worst = runs.find(({ status }) => status === "failed") ?? runs.find(({ status }) => status !== "completed") ?? first;
  const status = worst.status as NodeStatus;
  if (runs.length > 1) return { status, detail: texts.ran(runs.length, failed) };
  return { status, time: first.duration === undefined ? undefined : duration(first.duration), detail: first.attempts > 1 ? texts.attemptsOf(first.attempts) : undefined };
}
