import { expect, it } from "vitest";
import { momentAfter } from "./replay";
import type { EventMessage } from "./stream";

const event = (changes: Partial<EventMessage>): EventMessage => ({ type: "execution_update", seq: 1, timestamp: "2027-01-31T12:00:00Z", status: "running", ...changes });
const EVENTS = [
  event({ step: "fetch.1", attempt: 1 }),
  event({ type: "log", message: "12 found", level: "info", step: "fetch.1" }),
  event({ type: "node_completed", step: "fetch.1", action: "many" }),
  event({ step: "each.1", attempt: 1 }),
  event({ step: "each.1[0]/push.1", attempt: 1, scope: "each.1[0]" }),
  event({ step: "each.1[0]/push.1", error: "503", scope: "each.1[0]" }),
  event({ step: "each.1", error: "503" }),
  event({ step: "give_up.1", attempt: 1 }),
];
const EDGES = [
  { source: "fetch", target: "each", action: "many" },
  { source: "fetch", target: "give_up", action: "none" },
  { source: "each", target: "give_up", action: "error" },
];

it("shows the nodes as they were", () => {
  expect([...momentAfter(EVENTS, 1, EDGES).nodes]).toEqual([["fetch", "running"]]);
  expect(Object.fromEntries(momentAfter(EVENTS, 6, EDGES).nodes)).toEqual({ fetch: "completed", each: "running", "each/push": "failed" });
});

it("shows the edges that had been taken, by action or by error", () => {
  expect([...momentAfter(EVENTS, 3, EDGES).links]).toEqual([]);
  expect([...momentAfter(EVENTS, 8, EDGES).links]).toEqual(["fetch\neach", "each\ngive_up"]);
});

it.each([["default", ["a\nb"]], ["skipped", ["a\nc"]]])("shows a skipped node as such, and the edge that it has taken: %s", (action, links) => {
  const events = [event({ step: "a.1", attempt: 1 }), event({ type: "node_completed", step: "a.1", action: "skipped", skipped: true })];
  const edges = [{ source: "a", target: "b", action: "default" }, ...(action === "skipped" ? [{ source: "a", target: "c", action }] : [])];
  const after = [...events, event({ step: action === "skipped" ? "c.1" : "b.1", attempt: 1 })];
  expect(momentAfter(after, 2, edges).nodes.get("a")).toBe("skipped");
  expect([...momentAfter(after, 3, edges).links]).toEqual(links);
});

it("looks through all edges when a node is entered, and not at each of its ends", () => {
  let read = 0;
  const edges = [{ get source() { read++; return "a"; }, target: "b", action: "many" }];
  const rounds = Array.from({ length: 100 }, () => [event({ step: "a.1", attempt: 1 }), event({ type: "node_completed", step: "a.1", action: "default" })]).flat();
  momentAfter(rounds, rounds.length, edges);
  expect(read).toBeLessThan(10);
});

it("shows the log up to then", () => {
  expect(momentAfter(EVENTS, 1, EDGES).lines).toEqual([]);
  expect(momentAfter(EVENTS, 8, EDGES).lines.map(({ message }) => message)).toEqual(["12 found"]);
});

const WAIT = { step: "wait.1", attempt: 1, waiting_for: { type: "delay" } };

it("shows as cancelled what the end of the execution cut off, and as untaken what never ran", () => {
  const events = [event({ step: "fetch.1", attempt: 1 }), event({ type: "node_completed", step: "fetch.1" }), event(WAIT), event({ status: "cancelled" })];
  expect(momentAfter(events, 3, [])).toMatchObject({ nodes: new Map([["fetch", "completed"], ["wait", "waiting"]]), others: "pending" });
  expect(momentAfter(events, 4, [])).toMatchObject({ nodes: new Map([["fetch", "completed"], ["wait", "cancelled"]]), others: "untaken" });
});

it("shows as cancelled what another branch cut off, and leaves the rounds beside it", () => {
  const events = [
    event({ ...WAIT, step: "both.1[x]/wait.1", scope: "both.1[x]" }),
    event({ ...WAIT, step: "each.1[0]/wait.1", scope: "each.1[0]" }),
    event({ ...WAIT, step: "each.1[1]/wait.1", scope: "each.1[1]" }),
    event({ scope: "both.1[x]", scope_outcome: "cancelled" }),
    event({ scope: "each.1[0]", scope_outcome: "cancelled" }),
  ];
  expect(Object.fromEntries(momentAfter(events, 5, []).nodes)).toEqual({ "both[x]/wait": "cancelled", "each/wait": "waiting" });
});
