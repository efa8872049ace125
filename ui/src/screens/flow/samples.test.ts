import { expect, test } from "vitest";
import { parse } from "yaml";
import { samples } from "./samples";

test.each(["agent", "mailbox", "sql"])("the sample %s says at its top what it needs", (name) => {
  const { definition } = samples.find((each) => each.name === name)!;
  for (const [, secret] of definition.matchAll(/secrets\.(\w+)/g)) expect(definition.split("\n")[0]).toContain(secret);
  for (const [, value] of definition.matchAll(/config\.(\w+)/g)) expect(definition.split("\n")[0]).toContain(value);
});

test("every template is a sample with a title and a description", () => {
  const files = Object.keys(import.meta.glob("../../../../src/flowrunner/cli/flow_templates/*.yaml"));
  expect(samples.map(({ name }) => name).sort()).toEqual(files.map((path) => /([a-z]+)\.yaml$/.exec(path)![1]).sort());
  for (const { title, description, definition } of samples) {
    expect(title.length * description.length).toBeGreaterThan(0);
    expect(parse(definition).tests).toBeTypeOf("object");
  }
});
