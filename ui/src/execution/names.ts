/** Names of steps (`each.1[4]/push.1`), and the paths of their nodes in the flow's graph (`each/push`). */
import { steps as texts } from "../texts/steps";

/** Return the path of the node of a step: without the numbers of visits and of a loop's runs. */
export function pathOf(step: string): string {
  return step
    .split("/")
    // A node that an approval notifies stands beside it: `ask.1[notify.1]/tell.1` is a run of `tell`.
    .filter((part) => !/\.\d+\[notify\.\d+\]$/.test(part))
    .map((part) => part.replace(/\.\d+(?=\[|$)/, "").replace(/\[\d+\]$/, ""))
    .join("/");
}

/** Return the name for people of the run of a loop or of the branch that a scope is: `each.1[4]` is "round 5". */
export function runOf(scope: string): string {
  return runNamed(/\[([^\]]*)\]$/.exec(scope)?.[1] ?? scope);
}

function runNamed(key: string): string {
  return /^\d+$/.test(key) ? texts.roundOf(numberOf(key)) : key;
}

/** Return the number for people of a round, from 1, by its key in names, from 0. */
export function numberOf(key: string): number {
  return Number(key) + 1;
}

/** Return the name of a step for people: `each.1[4]/push.2` is "each › round 5 › push (visit 2)". */
export function readable(step: string): string {
  return step.split("/").flatMap((part) => {
    const [, node = part, visit = "1", , key] = /^(.*)\.(\d+)(\[([^\]]*)\])?$/.exec(part) ?? [];
    const name = visit === "1" ? node : texts.visit(node, Number(visit));
    return key === undefined ? [name] : [name, runNamed(key)];
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
