import { signal } from "@preact/signals";
import { expect, it } from "vitest";
import { GraphStates } from "../graph/states";
import { roundAround, roundsOf, RoundStates, type Chosen } from "./rounds";
import type { Step } from "./store";

const step = (name: string, changes: Partial<Step> = {}) => ({ step: name, status: "completed", attempts: 1, duration: 5, ...changes }) as Step;
const STEPS = [
  step("each.1", { status: "failed" }),
  step("each.1[0]/check.1"),
  step("each.1[0]/push.1"),
  step("each.1[1]/check.1", { duration: 7, action: "many" }),
  step("each.1[1]/push.1", { status: "failed", attempts: 3 }),
  step("each.1[1]/deep.1[0]/a.1"),
  step("each.1[1]/deep.1[1]/a.1", { status: "failed" }),
];
const EDGES = [
  { source: "each/check", target: "each/push", action: "many", taken: 1 },
  { source: "each/push", target: "each/lost", action: "error", taken: 1 },
];

function shown(rounds: Chosen["rounds"], prefix = "") {
  const all = new GraphStates((flush) => flush());
  for (const id of ["each", "each/check", "each/push", "after"]) all.setNode(prefix + id, { status: "failed", detail: "all" });
  const chosen = signal<Chosen | undefined>({ rounds, prefix, steps: STEPS, edges: EDGES, isLive: false });
  return { states: new RoundStates(all, chosen), chosen };
}

it("names the rounds that a step is in", () => {
  const rounds = roundsOf("both.1[left]/each.2[4]/deep.1[0]/a.1");
  expect(rounds).toEqual([{ scope: "both.1[left]/each.2[4]", loop: "both[left]/each", name: "round 5", scopes: ["both.1[left]/each.2[4]"] }, { scope: "both.1[left]/each.2[4]/deep.1[0]", loop: "both[left]/each/deep", name: "round 1", scopes: ["both.1[left]/each.2[4]/deep.1[0]"] }]);
  expect(roundAround(rounds, "both[left]/each/x")?.name).toBe("round 5");
  expect(roundAround(rounds, "both[left]/each/deep/a")?.name).toBe("round 1");
  expect(roundAround(rounds, "both[left]/each")).toBeUndefined();
});

it("shows what the nodes did in the chosen round, and all else as before", () => {
  const { states, chosen } = shown(roundsOf("each.1[1]/push.1"));
  expect(states.node("each/check").value).toEqual({ status: "completed", time: "7 ms", detail: undefined });
  expect(states.node("each/push").value).toEqual({ status: "failed", time: "5 ms", detail: "3 attempts" });
  expect(states.node("each/deep/a").value).toEqual({ status: "failed", detail: "1 of 2 failed" });
  expect(states.node("each/never").value).toEqual({ status: "untaken" });
  expect(states.node("each").value).toEqual({ status: "failed", detail: "round 2" });
  expect(states.node("after").value?.detail).toBe("all");
  expect(states.link("each/check", "each/push").value).toBe(true);
  expect(states.link("each/push", "each/lost").value).toBe(false);
  chosen.value = undefined;
  expect(states.node("each/push").value?.detail).toBe("all");
});

it("finds the nodes of a sub-flow by what is before them", () => {
  const { states } = shown(roundsOf("each.1[0]/push.1"), "call/");
  expect(states.node("call/each/push").value?.status).toBe("completed");
  expect(states.node("each/push").value).toBeUndefined();
});
