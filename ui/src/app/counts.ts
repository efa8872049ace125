/** What the frame of all screens shows: numbers beside entries of the navigation, and the pause of the installation. */
import { signal } from "@preact/signals";
import { api, type Schemas } from "../api/client";

/** By path: what waits for the reader. */
export const counts = signal<Record<string, string>>({});
/** When the installation was paused; undefined while it starts executions. */
export const pausedAt = signal<string | undefined>(undefined);

/** Approvals that are counted; more are shown as "50+". */
export const COUNTED = 50;

export const recountApprovals = async () => countApprovals(await api.get("/api/v1/approvals", { query: { limit: COUNTED } }));

export function countApprovals({ approvals: { length }, next }: Schemas["ApprovalList"]): void {
  counts.value = { ...counts.peek(), "/approvals": length === 0 ? "" : `${length}${next === null ? "" : "+"}` };
}
