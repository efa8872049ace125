import { describe, expect, it } from "vitest";
import { daysOf, mondayBefore } from "./days";

const at = (...parts: [number, number, number, number?, number?]) => new Date(...(parts as [number, number, number]));
const iso = (...parts: [number, number, number, number?, number?]) => at(...parts).toISOString();

describe("the days of a calendar", () => {
  it("begin with a Monday", () => {
    expect(mondayBefore(at(2026, 10, 29, 13))).toEqual(at(2026, 10, 23));
    expect(mondayBefore(at(2026, 10, 23, 0))).toEqual(at(2026, 10, 23));
  });

  it("have what is due on each, the earliest first", () => {
    const days = daysOf([
      { trigger: "late", times: [iso(2026, 10, 24, 18), iso(2026, 10, 25, 18)] },
      { trigger: "early", times: [iso(2026, 10, 24, 2), iso(2026, 10, 24, 3)] },
    ], at(2026, 10, 23), 7, 100);

    expect(days.map(({ entries }) => entries.map(({ trigger, count }) => `${count} ${trigger}`))).toEqual([[], ["2 early", "1 late"], ["1 late"], [], [], [], []]);
    expect(days.map(({ date }) => date.getDate())).toEqual([23, 24, 25, 26, 27, 28, 29]);
  });

  it("say where more may follow than was asked for", () => {
    const often = { trigger: "often", times: [iso(2026, 10, 23, 1), iso(2026, 10, 23, 2), iso(2026, 10, 24, 1)] };

    expect(daysOf([often], at(2026, 10, 23), 2, 3).map(({ entries }) => entries[0]?.isOpen)).toEqual([false, true]);
    expect(daysOf([often], at(2026, 10, 23), 2, 4).map(({ entries }) => entries[0]?.isOpen)).toEqual([false, false]);
  });
});
