import { describe, expect, it } from "vitest";
import { axisOf, labelled, labelsOf, sinceStart, spansOf, type Span } from "./bars";
import { nodeOf, pathOf, runOf } from "./names";
import type { Step } from "./store";

const START = Date.parse("2027-01-31T12:00:00Z");

function step(changes: Partial<Step>): Step {
  return { id: 1, step: "a.1", node_id: "a", node_type: "log", status: "completed", attempts: 1, started_at: "2027-01-31T12:00:00Z", completed_at: "2027-01-31T12:00:10Z", queued: 0, ...changes } as Step;
}

describe("what a step did", () => {
  it("is queued before it runs", () => {
    expect(spansOf(step({ queued: 2000 }), 0)).toEqual([
      { kind: "queued", from: START - 2000, to: START },
      { kind: "completed", from: START, to: START + 10_000 },
    ]);
  });

  it("goes on until now while it is open", () => {
    expect(spansOf(step({ status: "running", completed_at: undefined }), START + 500)).toEqual([{ kind: "running", from: START, to: START + 500 }]);
  });

  it("waits, and shows how that ended unless it was well", () => {
    const wait = { waiting_for: { type: "flow" }, since: "2027-01-31T12:00:00Z" } as Step["wait"];
    expect(spansOf(step({ wait, node_type: "flow" }), 0).map(({ kind }) => kind)).toEqual(["waiting"]);
    expect(spansOf(step({ wait, node_type: "flow", status: "failed" }), 0)).toEqual([
      { kind: "waiting", from: START, to: START + 10_000 },
      { kind: "failed", from: START + 10_000, to: START + 10_000 },
    ]);
  });

  it("is split at its attempts, with the waits between them", () => {
    const attempts = [
      { attempt: 1, status: "retrying" as const, started_at: "2027-01-31T12:00:00Z", completed_at: "2027-01-31T12:00:01Z" },
      { attempt: 2, status: "completed" as const, started_at: "2027-01-31T12:00:04Z", completed_at: "2027-01-31T12:00:10Z" },
    ];
    expect(spansOf(step({ attempts: 2 }), 0, attempts).map(({ kind, from, to }) => [kind, from - START, to - START])).toEqual([
      ["failed", 0, 1000],
      ["retry", 1000, 4000],
      ["completed", 4000, 10_000],
    ]);
  });
});

describe("the axis", () => {
  const work = (from: number, to: number): Span => ({ kind: "completed", from, to });

  it("keeps proportions while something runs", () => {
    const axis = axisOf([work(0, 500), work(400, 1000)], 0, 1000, true);
    expect([0, 250, 1000].map(axis.place)).toEqual([0, 0.25, 1]);
    expect(axis.folds).toEqual([]);
  });

  it("folds a long pause in which only something waits, and grows with time all the same", () => {
    const day = 86_400_000;
    const axis = axisOf([work(0, 1000), { kind: "waiting", from: 1000, to: day }, work(day, day + 1000)], 0, day + 1000, true);
    expect(axis.folds).toHaveLength(1);
    const places = [0, 500, 1000, day / 2, day, day + 500, day + 1000].map(axis.place);
    expect([...places].sort((a, b) => a - b)).toEqual(places);
    expect(axis.place(1000)).toBeGreaterThan(0.3);
  });

  it("can be shown unfolded", () => {
    expect(axisOf([work(0, 1000), work(90_000, 91_000)], 0, 91_000, false).folds).toEqual([]);
  });
});

describe("the names of steps", () => {
  it("lead to the nodes of the graph", () => {
    expect(["fetch.1", "each.1[4]/push.12", "both.1[left]/each.2[0]/a.b.1"].map(pathOf)).toEqual(["fetch", "each/push", "both[left]/each/a.b"]);
    expect([runOf("each.1[4]"), runOf("both.1[left]"), nodeOf("each.1[4]/push.1")]).toEqual(["round 5", "left", "push"]);
  });
});

it("says no moment of an axis twice", () => {
  const clock = (moment: number) => new Date(moment).toISOString().slice(11, 19);
  expect(labelsOf([START, START + 300, START + 600, START + 1200], clock, (length) => `${length} ms`)).toEqual(["12:00:00", "+300 ms", "+600 ms", "12:00:01"]);
});

it("counts the milliseconds of a short execution from its start alone", () => {
  expect(sinceStart([START, START + 0.6, START + 1.2, START + 1.8, START + 2.4], START, (length) => `${Math.round(length)} ms`)).toEqual(["+0 ms", "+1 ms", "", "+2 ms", ""]);
});

describe("the labels of an axis", () => {
  it("count from a label that is there, however narrow the axis is", () => {
    const ticks = [0, 0.1, 0.2, 0.5, 0.6].map((at, i) => ({ at, moment: [0, 7_200_000, 7_200_305, 7_200_600, 14_400_000][i]! }));
    const shown = labelled(ticks, 0.3);
    expect(shown.map(({ at }) => at)).toEqual([0, 0.5]);
    const clock = (moment: number) => `h${Math.floor(moment / 3_600_000)}`;
    expect(labelsOf(shown.map(({ moment }) => moment), clock, String)).toEqual(["h0", "h2"]);
    expect(labelsOf(labelled(ticks, 0.08).map(({ moment }) => moment), clock, String)).toEqual(["h0", "h2", "+305", "+600", "h4"]);
  });

  it("end before the edge of the axis", () => {
    expect(labelled([{ at: 0, moment: 0 }, { at: 0.9, moment: 1 }], 0.2).map(({ at }) => at)).toEqual([0]);
  });
});
