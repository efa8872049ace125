/** Words of the replay of an execution alone. */
export const replay = {
  play: "Play",
  pauseReplay: "Pause",
  endReplay: "Back to the end",
  slider: "Moment of the execution",
  eventOf: (at: number, all: number) => `event ${at.toLocaleString("en")} of ${all.toLocaleString("en")}`,
  notBegun: "Nothing has happened yet.",
  moreEvents: (count: number) => `The first ${count.toLocaleString("en")} events`,
  events: { execution_update: "has changed", node_completed: "has completed", log: "has logged", execution_completed: "The execution has completed", execution_failed: "The execution has failed" } as Record<string, string>,
};
