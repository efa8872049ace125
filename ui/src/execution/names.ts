/** Names of steps (`each.1[4]/push.1`), and the paths of their nodes in the flow's graph (`each/push`). */
import type { Schemas } from "../api/client";
import { steps as texts } from "../texts/steps";

/** A question of an agent and the calls that follow it; number 0 is what comes before the first question. */
export interface Turn {
  readonly number: number;
  readonly scopes: string[];
}

/** The turns of agents by the scopes in them. */
export type Turns = ReadonlyMap<string, Turn>;

/** Return the turns of all agents, as far as their steps are listed without a gap. */
export function turnsOf(steps: readonly Schemas["StepListItem"][]): Turns {
  const asks = new Map(steps.map(({ scope, node_id: node }) => [scope, node === "ask"]));
  const turns = new Map<string, Turn>();
  for (const { step, node_type: type } of steps) {
    if (type !== "agent") continue;
    let turn: Turn = { number: 0, scopes: [] };
    for (let i = 0, scope; asks.has((scope = `${step}[${i}]`)); i++) {
      if (asks.get(scope)) turn = { number: turn.number + 1, scopes: [] };
      turn.scopes.push(scope);
      turns.set(scope, turn);
    }
  }
  return turns;
}

/** Return the path of the node of a step: without the numbers of visits and of a loop's runs. */
export function pathOf(step: string): string {
  return step
    .split("/")
    // A node that an approval notifies stands beside it: `ask.1[notify.1]/tell.1` is a run of `tell`.
    .filter((part) => !/\.\d+\[notify\.\d+\]$/.test(part))
    .map((part) => part.replace(/\.\d+(?=\[|$)/, "").replace(/\[\d+\]$/, ""))
    .join("/");
}

/** Return the name for people of the run of a loop or of the branch that a scope is: `each.1[4]` is "round 5", or "turn 2" of an agent. */
export function runOf(scope: string, turns?: Turns): string {
  const turn = turns?.get(scope);
  const key = /\[([^\]]*)\]$/.exec(scope)?.[1] ?? scope;
  return turn ? texts.turn(turn.number) : /^\d+$/.test(key) ? texts.roundOf(numberOf(key)) : key;
}

/** Return the number for people of a round, from 1, by its key in names, from 0. */
export function numberOf(key: string): number {
  return Number(key) + 1;
}

/** Return the name of a step for people: `each.1[4]/push.2` is "each › round 5 › push (visit 2)". */
export function readable(step: string, turns?: Turns): string {
  return step.split("/").flatMap((part, i, parts) => {
    const [, node = part, visit = "1", run] = /^(.*)\.(\d+)(\[[^\]]*\])?$/.exec(part) ?? [];
    const name = visit === "1" ? node : texts.visit(node, Number(visit));
    return run === undefined ? [name] : [name, runOf(parts.slice(0, i + 1).join("/"), turns)];
  }).join(" › ");
}

/** The last part of a step's name without its number: `push`. */
export function nodeOf(step: string): string {
  return step.slice(step.lastIndexOf("/") + 1).replace(/\.\d+$/, "");
}

/** The round or the branch that a step belongs to, `each.1[4]`; empty for the flow's own steps. */
export function scopeOf(step: string): string {
  return step.slice(0, Math.max(0, step.lastIndexOf("/")));
}
