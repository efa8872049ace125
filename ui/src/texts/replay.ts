/** Words of the replay of an execution alone. */
export const replay = {
  play: "Play",
  pauseReplay: "Pause",
  endReplay: "Back to the end",
  slider: "Moment of the execution",
  eventOf: (at: number, all: number) => `event ${at.toLocaleString("en")} of ${all.toLocaleString("en")}`,
  notBegun: "Nothing has happened yet.",
  moreEvents: (count: number) => `The first ${count.toLocaleString("en")} events`,
};
