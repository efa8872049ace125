/** Loops of an execution. */
import type { Step } from "./store";

/** Return whether a step is a loop whose failed elements can run again by themselves. */
export function hasFailedElements(step: Step | undefined): boolean {
  return step?.node_type === "foreach" && (step.scopes?.failed ?? 0) > 0;
}
