/** Which step of an execution is looked at. */
import type { Detail, Step } from "./store";

/** Return the name of the step that has failed, or that waits for somebody; undefined if there is none. */
export function decisiveOf(detail: Detail): string | undefined {
  return detail.failure?.step ?? detail.waiting_for?.find(({ type }) => type === "approval" || type === "signal")?.step ?? undefined;
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
