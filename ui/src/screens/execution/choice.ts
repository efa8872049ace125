/** The step of an execution that is looked at, which the address names. */
import { location, setQuery } from "../../app/router";
import { selectedStep } from "../../execution/selection";
import type { ExecutionStore, Step } from "../../execution/store";

/** The step that the address names, or else the decisive one. */
export function chosenStep(store: ExecutionStore): Step | undefined {
  return selectedStep(location.value.query, store.decisive.value, store.steps.value);
}

/** Choose a step or a node: it is in the address, so that it survives a reload and can be sent to somebody. */
export function choose(values: { step?: string; node?: string; loop?: string; of?: string; in?: string }): void {
  setQuery({ step: undefined, node: undefined, loop: undefined, of: undefined, in: undefined, ...values });
}
