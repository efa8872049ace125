/** Words of how long ended executions are kept. */
export const retention = {
  title: "Retention",
  hints: {
    flow: "How long ended executions of this flow are kept. An empty field leaves it to the workspace and the server.",
    workspace: "How long ended executions are kept, for flows that say nothing else. An empty field leaves it to the server.",
  },
  age: "Delete executions after",
  unit: "Unit",
  units: { "86400": "days", "3600": "hours", "60": "minutes", "1": "seconds" } as Record<string, string>,
  counts: { flow: "Executions to keep", workspace: "Executions to keep of each flow" },
  inForce: (age: string | undefined, count: number | null) => {
    const parts = [age !== undefined && `deletes executions ${age} after their end`, count !== null && `keeps the last ${count.toLocaleString("en")} of each flow`].filter(Boolean);
    return parts.length === 0 ? "In force now: executions are kept." : `In force now: the server ${parts.join(", and ")}.`;
  },
};
