/** Loops of an execution. */
import { executions as texts } from "../texts/executions";
import type { Step } from "./store";

/** Return whether a step is a loop whose failed elements can run again by themselves. */
export function hasFailedElements(step: Step | undefined): boolean {
  return step?.node_type === "foreach" && (step.scopes?.failed ?? 0) > 0;
}

/** Return how far a loop is, such as "37 of 40"; undefined for a step that is none. */
export function progressOf({ node_type: type, scopes }: Step): string | undefined {
  if (scopes === undefined || type === "parallel") return undefined;
  // Nobody knows how many rounds other loops will have.
  return type === "foreach" ? texts.progress(scopes.completed, scopes.total, scopes.failed) : texts.countOfRounds(scopes.total);
}
