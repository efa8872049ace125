import { describe, expect, it } from "vitest";
import { askedStep, decisiveOf, selectedStep } from "./selection";
import type { Detail, Step } from "./store";

const detail = (changes: Partial<Detail>) => ({ id: "e", status: "running", ...changes }) as Detail;
const steps = ["a.1", "b.1"].map((step, id) => ({ id, step }) as Step);

describe("the step that is looked at", () => {
  it("is the failed one, or the one that waits for somebody", () => {
    expect(decisiveOf(detail({ failure: { type: "x", message: "no", step: "b.1" } }))).toBe("b.1");
    expect(decisiveOf(detail({ waiting_for: [{ type: "delay", step: "a.1" }, { type: "signal", step: "b.1" }] }))).toBe("b.1");
    expect(decisiveOf(detail({ waiting_for: [{ type: "delay", step: "a.1" }] }))).toBeUndefined();
  });

  it("is one that waits for its next attempt, and stays on it while others do", () => {
    const retrying = detail({ waiting_for: [{ type: "delay", step: "a.1" }, { type: "retry", step: "b.1" }] });
    expect(decisiveOf(retrying)).toBe("b.1");
    expect(decisiveOf(retrying, "c.1")).toBe("c.1");
    expect(decisiveOf(detail({ waiting_for: [{ type: "retry", step: "a.1" }, { type: "approval", step: "b.1" }] }), "a.1")).toBe("b.1");
  });

  it("is the one of the address before any other", () => {
    expect(askedStep(new URLSearchParams("step=a.1&node=b"), "b.1")).toBe("a.1");
    expect(askedStep(new URLSearchParams("node=b"), "b.1")).toBeUndefined();
    expect(askedStep(new URLSearchParams("loop=b.1&of=failed"), "b.1")).toBeUndefined();
    expect(askedStep(new URLSearchParams("tab=timeline"), "b.1")).toBe("b.1");
  });

  it("may be one that is not listed", () => {
    expect(selectedStep(new URLSearchParams("step=c.1"), "b.1", steps)).toBeUndefined();
    expect(selectedStep(new URLSearchParams(), "b.1", steps)).toBe(steps[1]);
  });
});
