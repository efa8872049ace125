import { describe, expect, it } from "vitest";
import { chosenOf, LISTED, rowsOf, scopesAround } from "./rows";
import type { Step } from "./store";

const START = Date.parse("2027-01-31T12:00:00Z");

function step(id: number, changes: Partial<Step>): Step {
  const at = new Date(START + id * 1000).toISOString();
  return { id, step: "a.1", node_id: "a", node_type: "log", status: "completed", attempts: 1, started_at: at, completed_at: at, duration: 0, queued: 0, ...changes } as Step;
}

/** A loop of rounds with one step each, whose statuses are given. */
function loop(statuses: readonly Step["status"][]): Step[] {
  const having = (status: Step["status"]) => statuses.filter((each) => each === status).length;
  return [
    step(0, { step: "each.1", node_id: "each", node_type: "foreach", scopes: { total: statuses.length, completed: having("completed"), failed: having("failed"), cancelled: 0 } }),
    ...statuses.map((status, i) => step(i + 1, { step: `each.1[${i}]/push.1`, scope: `each.1[${i}]`, parent: 0, status })),
  ];
}

describe("the rows of the timeline", () => {
  it("are closed loops until they are opened", () => {
    expect(rowsOf(loop(["completed", "failed"]), new Set(), new Map(), START).map(({ label, note, opens }) => [label, note, opens])).toEqual([["each", "foreach · 1 of 2, 1 failed", "each.1"]]);
  });

  it("are the rounds of an open loop in their order, with one number each", () => {
    const rows = rowsOf(loop(["completed", "failed", "completed"]), new Set(["each.1"]), new Map(), START);
    expect(rows.map(({ label }) => label)).toEqual(["each", "round 1", "round 2", "round 3"]);
  });

  it("count further rounds by status, and draw each status", () => {
    const statuses = Array.from({ length: 40 }, (_, i): Step["status"] => (i < 30 ? "failed" : "completed"));
    const rest = rowsOf(loop(statuses), new Set(["each.1"]), new Map(), START).at(-1)!;
    expect(rest.rest?.counts).toEqual([["failed", 10], ["completed", 10]]);
    expect(rest.label).toBe("20 others");
    expect(rest.spans.map(({ kind }) => kind)).toEqual(["completed", "failed"]);
  });

  it("list what has failed before what has completed, still in the order of time", () => {
    const runs = Array.from({ length: 30 }, (_, from) => ({ from, rank: from === 29 ? 0 : 3 }));
    const [listed, rest] = chosenOf(runs);
    expect(listed).toHaveLength(LISTED);
    expect(listed.map(({ from }) => from)).toEqual([...Array(19).keys(), 29]);
    expect(rest).toHaveLength(10);
  });

  it("open around a step that is deep inside", () => {
    expect(scopesAround("each.1[4]/both.1[left]/push.1")).toEqual(["each.1", "each.1[4]", "each.1[4]/both.1", "each.1[4]/both.1[left]"]);
  });
});
