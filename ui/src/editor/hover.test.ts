import { expect, test } from "vitest";
import { hoverAt, hoverOrWordsAt } from "./hover";
import { FlowSchema } from "./schema";
import fixture from "./schema.fixture.json";

const schema = new FlowSchema(fixture);
const FLOW = "nodes:\n  a:\n    type: approval\n    params:\n      prompt: x\n    timeout: 1d\n";

function at(word: string) {
  return hoverAt(FLOW, FLOW.indexOf(word) + 2, schema);
}

test("a key says what it is for", () => {
  expect(at("timeout")).toMatchObject({ title: "timeout", text: "How long one attempt may take." });
  expect(at("prompt")?.title).toBe("prompt");
});

test("a node type says what it does", () => {
  expect(at("approval")?.text).toContain("Waits for an approval");
});

test("the name of a node and a text say nothing", () => {
  expect(hoverAt(FLOW, FLOW.indexOf("x\n"), schema)).toBeNull();
  expect(hoverAt("# note", 3, schema)).toBeNull();
});

const TRIGGERS = `triggers:
  nightly:
    type: schedule
    cron: "0 2 1,15 * *"  # often
    timezone: Europe/Berlin
  weekly: {type: schedule, cron: 0 6 * * 1}
  odd: {type: schedule, cron: "every day"}
nodes: {a: {type: log, params: {cron: "0 2 * * *"}}}
`;

test("a cron expression says what it means, and in which zone", async () => {
  const nightly = await hoverOrWordsAt(TRIGGERS, TRIGGERS.indexOf("1,15"), schema);
  expect(nightly).toMatchObject({ title: "0 2 1,15 * *", text: "At 02:00, on days 1 and 15 of the month", notes: ["Times are those of Europe/Berlin."] });
  expect(TRIGGERS.slice(nightly!.from, nightly!.to)).toBe("0 2 1,15 * *");
  const weekly = await hoverOrWordsAt(TRIGGERS, TRIGGERS.indexOf("0 6") + 1, schema);
  expect(weekly).toMatchObject({ title: "0 6 * * 1", text: "At 06:00, only on Monday", notes: ["Times are those of UTC."] });
  expect(await hoverOrWordsAt(TRIGGERS, TRIGGERS.indexOf("every day") + 2, schema)).toBeNull();
  expect(await hoverOrWordsAt(TRIGGERS, TRIGGERS.lastIndexOf("0 2") + 2, schema)).toBeNull();
});
