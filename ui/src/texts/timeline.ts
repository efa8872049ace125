/** Words of the timeline of an execution alone. */
export const timeline = {
  open: (name: string) => `Show what ${name} ran`,
  fold: "Fold pauses",
  folded: (length: string) => `${length} folded`,
  kinds: { queued: "queued", running: "running", completed: "completed", failed: "failed attempt", cancelled: "cancelled", retry: "waiting to retry", waiting: "waiting" } as Record<string, string>,
  timelineEmpty: "Nothing has begun yet.",
  some: (count: number, status: string) => `${count.toLocaleString("en")} ${status}`,
};
