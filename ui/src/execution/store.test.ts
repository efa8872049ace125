import { describe, expect, it } from "vitest";
import { GraphStates } from "../graph/states";
import { stateAfter } from "./store";

describe("the state of a node after an event", () => {
  it("keeps the sums and the failure of a loop's rounds", () => {
    const before = { status: "failed", detail: "3 of 40 failed" } as const;
    expect(stateAfter(before, "completed", true)).toBe(before);
    expect(stateAfter({ status: "completed", detail: "4 runs" }, "running", true)).toEqual({ status: "running", detail: "4 runs" });
  });

  it("is the new one for a node that runs again", () => {
    expect(stateAfter({ status: "failed", time: "2 s" }, "running", false)).toEqual({ status: "running", detail: undefined });
  });

  it("follows from a state that is not shown yet", () => {
    const frames: (() => void)[] = [];
    const states = new GraphStates((flush) => frames.push(flush));
    states.setNode("each/push", { status: "failed", detail: "1 of 2 failed" });
    states.change("each/push", (before) => stateAfter(before, "completed", true));
    frames[0]!();
    expect(states.node("each/push").value).toEqual({ status: "failed", detail: "1 of 2 failed" });
  });
});
