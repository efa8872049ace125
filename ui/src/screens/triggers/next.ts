/** When flows start next by their schedules. */
import { api } from "../../api/client";

/** Return the earliest next start of each flow that has a schedule, by the flow's id. */
export async function nextStarts(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const { triggers } = await api.get("/api/v1/triggers", { query: { type: "schedule", limit: 200 }, signal });
  const next = new Map<string, string>();
  for (const { flow_id: id, next_at: at } of triggers) {
    const known = next.get(id);
    if (at !== null && (known === undefined || at < known)) next.set(id, at);
  }
  return next;
}
