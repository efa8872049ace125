import { expect, it } from "vitest";
import { pathOf, readable, runOf } from "./names";

it.each([
  ["fetch.1", "fetch"],
  ["each.1[4]/push.2", "each/push"],
  ["both.1[left]/ask.1", "both[left]/ask"],
  ["ask.1[notify.1]/tell.1", "tell"],
  ["each.1[4]/ask.1[notify.12]/tell.1", "each/tell"],
])("the node of %s is %s", (step, path) => {
  expect(pathOf(step)).toBe(path);
});

it.each([
  ["fetch.1", "fetch"],
  ["fetch.3", "fetch (visit 3)"],
  ["each.1[4]/push.2", "each › round 5 › push (visit 2)"],
  ["both.1[left]/ask.1", "both › left › ask"],
  ["each.1[1233]", "each › round 1,234"],
])("people read %s as %s", (step, name) => {
  expect(readable(step)).toBe(name);
});

it("has one number for a round, from 1", () => {
  expect([runOf("each.1[0]"), runOf("a.1[2]/each.1[11]"), runOf("both.1[left]")]).toEqual(["round 1", "round 12", "left"]);
});
