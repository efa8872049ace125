import { signal } from "@preact/signals";
import { expect, it } from "vitest";
import { GraphStates } from "../graph/states";
import { readable, runOf, turnsOf } from "./names";
import { roundsOf, RoundStates, type Chosen } from "./rounds";
import { rowsOf } from "./rows";
import { progressOf, withCalls, type Graph, type Step } from "./store";

const AT = "2027-01-31T12:00:00Z";

function step(id: number, name: string, changes: Partial<Step> = {}): Step {
  return { id, step: name, node_id: "answer", node_type: "agent", status: "completed", attempts: 1, started_at: AT, completed_at: AT, duration: 0, queued: 0, ...changes } as Step;
}

/** An agent that has listed the tools of a server, and whose model has called tools in two turns. */
const AGENT = step(0, "answer.1", { scopes: { total: 7, completed: 6, failed: 1, cancelled: 0 } } as Partial<Step>);
const INSIDE = ["list 0", "ask", "orders", "ask", "orders", "parcel", "ask"].map((node, i) => {
  const scope = `answer.1[${i}]`;
  return step(i + 1, `${scope}/${node}.1`, { node_id: node, node_type: node === "ask" ? "llm" : "mcp", scope, parent: 0, status: node === "parcel" ? "failed" : "completed" });
});
const STEPS = [AGENT, ...INSIDE];
const TURNS = turnsOf(STEPS);

it("numbers the turns of an agent by its questions", () => {
  expect([...TURNS.values()].map(({ number }) => number)).toEqual([0, 1, 1, 2, 2, 2, 3]);
  expect(readable("answer.1[5]/parcel.1", TURNS)).toBe("answer › turn 2 › parcel");
  expect(runOf("answer.1[0]", TURNS)).toBe("before turn 1");
  expect(runOf("each.1[5]", TURNS)).toBe("round 6");
});

it("does not number turns beyond steps that are not listed", () => {
  expect([...turnsOf(STEPS.filter(({ id }) => id !== 3)).keys()]).toEqual(["answer.1[0]", "answer.1[1]"]);
});

it("shows all calls of a turn in the graph, and nothing of other turns", () => {
  const all = new GraphStates((flush) => flush());
  all.setNode("answer", { status: "completed", detail: "7 steps" });
  const node = (id: string): Graph["nodes"][number] => ({ id: `answer/${id}`, node_id: id, node_type: "mcp", parent: "answer", runs: { completed: 1 } }) as unknown as Graph["nodes"][number];
  const { edges } = withCalls({ edges: [], nodes: [{ ...node(""), id: "answer", node_type: "agent", parent: undefined } as unknown as Graph["nodes"][number], ...["list 0", "ask", "orders", "parcel"].map(node)] } as unknown as Graph);
  expect(edges.map(({ source, target }) => `${source} ${target}`)).toEqual(["answer/list 0 answer/ask", "answer/ask answer/orders", "answer/ask answer/parcel"]);
  const states = new RoundStates(all, signal<Chosen | undefined>({ rounds: roundsOf("answer.1[1]/ask.1", TURNS), prefix: "", steps: STEPS, edges, isLive: false }));
  expect(states.node("answer/orders").value?.status).toBe("completed");
  expect(states.link("answer/ask", "answer/orders").value).toBe(true);
  expect(states.node("answer/parcel").value).toEqual({ status: "untaken" });
  expect(states.link("answer/ask", "answer/parcel").value).toBe(false);
  expect(states.node("answer").value?.detail).toBe("turn 1");
});

it("lists each question and each call in one row of the timeline", () => {
  const rows = rowsOf(STEPS, new Set(["answer.1"]), new Map(), Date.parse(AT));
  expect(progressOf(AGENT)).toBe("7 steps");
  expect(rows.map(({ label, note, opens }) => [label, note, opens])).toEqual([
    ["answer", "agent · 7 steps", "answer.1"],
    ["list 0", "before turn 1", undefined], ["ask", "turn 1", undefined], ["orders", "turn 1", undefined],
    ["ask", "turn 2", undefined], ["orders", "turn 2", undefined], ["parcel", "turn 2", undefined], ["ask", "turn 3", undefined],
  ]);
});
