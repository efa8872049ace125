/** Names of steps (`each.1[4]/push.1`), and the paths of their nodes in the flow's graph (`each/push`). */

/** Return the path of the node of a step: without the numbers of visits and of a loop's runs. */
export function pathOf(step: string): string {
  return step
    .split("/")
    // A node that an approval notifies stands beside it: `ask.1[notify.1]/tell.1` is a run of `tell`.
    .filter((part) => !/\.\d+\[notify\.\d+\]$/.test(part))
    .map((part) => part.replace(/\.\d+(?=\[|$)/, "").replace(/\[\d+\]$/, ""))
    .join("/");
}

/** Return the number of the run of a loop, or the name of the branch, that a scope is: `each.1[4]` is "4". */
export function runOf(scope: string): string {
  return /\[([^\]]*)\]$/.exec(scope)?.[1] ?? scope;
}

/** The last part of a step's name without its number: `push`. */
export function nodeOf(step: string): string {
  return step.slice(step.lastIndexOf("/") + 1).replace(/\.\d+$/, "");
}

/** The round or the branch that a step belongs to, `each.1[4]`; empty for the flow's own steps. */
export function scopeOf(step: string): string {
  return step.slice(0, Math.max(0, step.lastIndexOf("/")));
}
