/** Which step of an execution is looked at. */
import type { Detail, Step } from "./store";

/**
 * Return the name of the step that has failed, or that waits for somebody; else the one that was decisive before, since
 * what was answered stays in sight; else one that waits for its next attempt; undefined if there is none.
 */
export function decisiveOf({ failure, waiting_for: waiting = [] }: Detail, before?: string): string | undefined {
  const waits = (...types: string[]) => waiting.find(({ type }) => types.includes(type))?.step;
  return failure?.step ?? waits("approval", "signal") ?? before ?? waits("retry") ?? undefined;
}

/** Return the name of the step that an address names; else the decisive one, unless the address names a node or rounds. */
export function askedStep(query: URLSearchParams, decisive: string | undefined): string | undefined {
  return query.get("step") ?? (query.has("node") || query.has("loop") ? undefined : decisive);
}

/** Return the step that is looked at; undefined if it is not listed. */
export function selectedStep(query: URLSearchParams, decisive: string | undefined, steps: readonly Step[]): Step | undefined {
  const asked = askedStep(query, decisive);
  return asked === undefined ? undefined : steps.find(({ step }) => step === asked);
}
