import { effect } from "@preact/signals";
import { expect, test } from "vitest";
import { GraphStates } from "./states";

test("states that change within one frame are shown once", () => {
  const frames: (() => void)[] = [];
  const states = new GraphStates((flush) => frames.push(flush));
  const seen: (string | undefined)[] = [];
  effect(() => void seen.push(states.node("a").value?.status));
  states.setNode("a", { status: "running" });
  states.setNode("a", { status: "completed", time: "2 ms" });
  states.setLink("a", "b", true);
  expect(seen).toEqual([undefined]);
  expect(frames).toHaveLength(1);
  frames[0]!();
  expect(seen).toEqual([undefined, "completed"]);
  expect(states.link("a", "b").value).toBe(true);
});

test("a state that does not differ is not shown again", () => {
  const states = new GraphStates((flush) => flush());
  let shown = 0;
  effect(() => {
    states.node("a").value;
    shown++;
  });
  states.setNode("a", { status: "running", detail: "1 of 2" });
  states.setNode("a", { status: "running", detail: "1 of 2" });
  expect(shown).toBe(2);
});
