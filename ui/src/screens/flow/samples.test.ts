import { expect, test } from "vitest";
import { parse } from "yaml";
import { samples } from "./samples";

test("every template is a sample with a title and a description", () => {
  const files = Object.keys(import.meta.glob("../../../../src/flowrunner/cli/flow_templates/*.yaml"));
  expect(samples.map(({ name }) => name).sort()).toEqual(files.map((path) => /([a-z]+)\.yaml$/.exec(path)![1]).sort());
  for (const { title, description, definition } of samples) {
    expect(title.length * description.length).toBeGreaterThan(0);
    expect(parse(definition).tests).toBeTypeOf("object");
  }
});
