/** A new flow that was just saved: the editor at its address goes on where the one of the new flow was. */
import type { Language } from "./language";
import type { Saved } from "./saved";

export interface Handover {
  readonly saved: Saved;
  readonly language: Language;
  /** With what was typed while the flow was being saved. */
  readonly text: string;
  /** The place of the cursor if the text had the focus. */
  readonly cursor: number | undefined;
}

let waiting: Handover | undefined;

export function handOver(begun: Handover): void {
  waiting = begun;
}

/** Return what was begun for the flow, once. */
export function takeOver(id: string): Handover | undefined {
  const begun = waiting;
  waiting = undefined;
  return begun?.saved.flow.id === id ? begun : undefined;
}
