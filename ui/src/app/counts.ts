/** Numbers beside entries of the navigation, by path: what waits for the reader. */
import { signal } from "@preact/signals";
import { api, ApiError, type Schemas } from "../api/client";

export const counts = signal<Record<string, string>>({});

/** Approvals that are counted; more are shown as "50+". */
export const COUNTED = 50;
/** Milliseconds before the first count, so that the screen's own requests come first, and between counts. */
const FIRST = 1000;
const EVERY = 30_000;

export function countApprovals({ approvals: { length }, next }: Schemas["ApprovalList"]): void {
  counts.value = { ...counts.peek(), "/approvals": length === 0 ? "" : `${length}${next === null ? "" : "+"}` };
}

/** Count the approvals that wait for the reader, on every screen. Return how to stop. */
export function watchApprovals(): () => void {
  async function look(): Promise<void> {
    if (document.visibilityState !== "visible") return;
    try {
      countApprovals(await api.get("/api/v1/approvals", { query: { limit: COUNTED } }));
    } catch (error) {
      // The screen itself says that the server does not answer; the last number stays.
      if (!(error instanceof ApiError)) throw error;
    }
  }
  const first = setTimeout(() => void look(), FIRST);
  const timer = setInterval(() => void look(), EVERY);
  return () => {
    clearTimeout(first);
    clearInterval(timer);
  };
}
