import { expect, it } from "vitest";
import { bytes, duration, moment, relative, shortId } from "./format";

it("shows durations by their two largest units", () => {
  expect([3, 184, 1000, 9800, 12_400, 59_700, 61_000, 3_600_000, 7_454_000, 90_000_000].map(duration)).toEqual([
    "3 ms", "184 ms", "1.0 s", "9.8 s", "12 s", "1 m", "1 m 1 s", "1 h", "2 h 4 m", "1 d 1 h",
  ]);
});

it("shows sizes in three digits", () => {
  expect([0, 1023, 1024, 18_200, 1_048_576, 10 * 1024 ** 3].map(bytes)).toEqual(["0 B", "1023 B", "1.0 KiB", "18 KiB", "1.0 MiB", "10 GiB"]);
});

it("shows moments shorter the nearer they are", () => {
  const present = new Date(2027, 0, 31, 12, 0, 0).getTime();
  const at = (...parts: [number, number, number, number, number]) => new Date(...parts).toISOString();
  expect(moment(at(2027, 0, 31, 2, 4), present)).toBe("02:04:00");
  expect(moment(at(2027, 0, 30, 18, 4), present)).toBe("yesterday 18:04");
  expect(moment(at(2027, 1, 1, 6, 0), present)).toBe("tomorrow 06:00");
  expect(moment(at(2027, 0, 3, 6, 0), present)).toBe("3 Jan 06:00");
  expect(moment(at(2025, 1, 3, 6, 0), present)).toBe("3 Feb 2025");
});

it("says how long ago something was", () => {
  const present = Date.parse("2027-01-31T12:00:00Z");
  expect(relative("2027-01-31T11:59:58Z", present)).toBe("now");
  expect(relative("2027-01-31T11:59:51Z", present)).toBe("9 s ago");
  expect(relative("2027-01-31T11:19:00Z", present)).toBe("41 m ago");
  expect(relative("2027-01-31T12:02:00Z", present)).toBe("in 2 m");
  // As the command line rounds: tests/cli/test_lists.py.
  expect(relative("2027-01-31T12:01:59Z", present)).toBe("in 1 m");
  expect(relative("2027-01-31T11:00:00.400Z", present)).toBe("1 h ago");
  expect(relative("2027-02-02T11:00:00Z", present)).toBe("in 1 d");
});

it("shortens ids in the middle", () => {
  expect(shortId("exec-01m8abcdefgh68p")).toBe("exec-01m8…68p");
  expect(shortId("flow-1")).toBe("flow-1");
});
