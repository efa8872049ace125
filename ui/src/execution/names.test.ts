import { expect, it } from "vitest";
import { pathOf } from "./names";

it.each([
  ["fetch.1", "fetch"],
  ["each.1[4]/push.2", "each/push"],
  ["both.1[left]/ask.1", "both[left]/ask"],
  ["ask.1[notify.1]/tell.1", "tell"],
  ["each.1[4]/ask.1[notify.12]/tell.1", "each/tell"],
])("the node of %s is %s", (step, path) => {
  expect(pathOf(step)).toBe(path);
});
