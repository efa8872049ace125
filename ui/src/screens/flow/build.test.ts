import { expect, test } from "vitest";
import { parse } from "yaml";
import type { DocumentNode } from "../../graph/document";
import { inWords } from "../../parts/cron";
import { cronOf, isNewTrigger, RHYTHMS, withNodeAfter, withNodeBefore, withTrigger, withoutNode } from "./build";
import type { NodeType } from "./language";

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

const typeOf = (name: string, actions?: string[]) => ({ name, actions, examples: [`type: ${name}`], params_schema: {} }) as unknown as NodeType;
const approval = typeOf("approval", ["approved", "rejected", "timeout"]);
const log = typeOf("log", ["default"]);
const node = { keys: ["nodes", "ask"] } as unknown as DocumentNode;
const nodes = (text: string | null) => parse(text!).nodes;

test("a node after an approval comes after its first action, and an approval leads on by that", () => {
  expect(nodes(withNodeAfter("nodes:\n  ask: {type: approval, next: {approved: ship, rejected: ship}}\n  ship: {type: log}\n", node, "tell", log, approval))).toMatchObject({ ask: { next: { approved: "tell", rejected: "ship" } }, tell: { next: "ship" } });
  expect(nodes(withNodeAfter("nodes:\n  ask: {type: approval}\n", node, "tell", log, approval)).ask.next).toEqual({ approved: "tell" });
  expect(nodes(withNodeAfter("nodes:\n  ask: {type: log, next: ship}\n  ship: {type: log}\n", node, "sign", approval, log))).toMatchObject({ ask: { next: "sign" }, sign: { next: { approved: "ship" } } });
  expect(nodes(withNodeBefore("nodes:\n  ask: {type: return}\n", node, "sign", approval)).sign.next).toEqual({ approved: "ask" });
});

test("a node after an approval takes over its plain name, but not what follows an approval that is skipped", () => {
  expect(nodes(withNodeAfter("nodes:\n  ask: {type: approval, next: ship}\n  ship: {type: log}\n", node, "tell", log, approval))).toMatchObject({ ask: { next: { approved: "tell" } }, tell: { next: "ship" } });
  expect(nodes(withNodeAfter("nodes:\n  ask:\n    type: approval\n    next: ship\n  ship: {type: log}\n", node, "tell", log, approval)).ask.next).toEqual({ approved: "tell" });
  expect(nodes(withNodeAfter("nodes:\n  ask: {type: approval, if: '${input.big}', next: ship}\n  ship: {type: log}\n", node, "tell", log, approval))).toMatchObject({ ask: { next: { default: "ship", approved: "tell" } }, tell: { next: "ship" } });
});

test("what came after a removed approval stays connected", () => {
  const text = (next: string) => `nodes:\n  a: {type: log, next: ask}\n  ask: {type: approval, next: ${next}}\n  ship: {type: log}\n  no: {type: log}\n`;
  const joined = (next: string) => nodes(withoutNode(text(next), node, approval)).a.next;
  expect(["{rejected: no, approved: ship}", "{default: no, approved: ship}", "{default: ship}", "ship", "{rejected: no}"].map(joined)).toEqual(["ship", "ship", "ship", "ship", undefined]);
});
