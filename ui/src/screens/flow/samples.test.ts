import { expect, test } from "vitest";
import { parse } from "yaml";
import { samples } from "./samples";

test.each(["agent", "mailbox", "sql"])("the sample %s says at its top what it needs", (name) => {
  const { definition } = samples.find((each) => each.name === name)!;
  const head = definition.slice(0, definition.indexOf("metadata:"));
  const needed = [...definition.matchAll(/(?:secrets|config)\.(\w+)/g)].map(([, each]) => each!);
  expect(needed.length).toBeGreaterThan(0);
  for (const each of needed) expect(head).toContain(each);
  // Beside a graph, an editor shows no longer lines.
  for (const line of head.split("\n")) expect(line.length).toBeLessThanOrEqual(58);
});

test("every template is a sample with a title and a description", () => {
  const files = Object.keys(import.meta.glob("../../../../src/flowrunner/cli/flow_templates/*.yaml"));
  expect(samples.map(({ name }) => name).sort()).toEqual(files.map((path) => /([a-z]+)\.yaml$/.exec(path)![1]).sort());
  for (const { title, description, definition } of samples) {
    expect(title.length * description.length).toBeGreaterThan(0);
    expect(parse(definition).tests).toBeTypeOf("object");
  }
});
