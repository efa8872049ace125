import { expect, test } from "vitest";
import { parse } from "yaml";
import { inWords } from "../../parts/cron";
import { cronOf, isNewTrigger, RHYTHMS, withTrigger } from "./build";

test("each rhythm of a schedule is a cron expression that says the same", () => {
  expect(RHYTHMS.map((rhythm) => inWords(cronOf(rhythm, "06:30")))).toEqual(["At 30 minutes past the hour, every hour, every day", "At 06:30, every day", "At 06:30, Monday through Friday", "At 06:30, only on Monday", "At 06:30, on day 1 of the month"]);
});

test("a new schedule has what was chosen, and a name that is free", () => {
  const chosen = { cron: "30 6 * * 1", timezone: "Europe/Berlin" };
  const once = withTrigger("nodes: {}\n", "schedule", chosen)!.text;
  expect(parse(withTrigger(once, "schedule", chosen)!.text).triggers).toEqual({ scheduled: { type: "schedule", ...chosen }, scheduled_2: { type: "schedule", ...chosen } });
});

test("an address adds a trigger of a known type only", () => {
  expect(["schedule", "webhook", "toString", "constructor", "", null].filter(isNewTrigger)).toEqual(["schedule", "webhook"]);
});
