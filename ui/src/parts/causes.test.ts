import { describe, expect, it } from "vitest";
import { causeFirst, causeOf, missingConfig, missingSecret } from "./causes";

describe("the cause of an error", () => {
  it("stands before the place of the script", () => {
    expect(causeOf("The script at nodes.push_all.nodes.push.params.script (line 48), line 3 of it: Error: HTTP request failed with status 503"))
      .toEqual({ what: "HTTP request failed with status 503", where: "line 3 of nodes.push_all.nodes.push.params.script (line 48)", place: { path: "nodes.push_all.nodes.push.params.script", field: "params.script", line: 48, within: 3 } });
    expect(causeFirst("Execution failed: The script at nodes.a.hooks.prep (line 2): TypeError: x\nis: not"))
      .toBe("Execution failed: TypeError: x\nis: not (nodes.a.hooks.prep (line 2))");
  });

  it("has the field of its node as its place", () => {
    expect(causeOf("The script at nodes.both.branches.left.nodes.push.output (line 7): x").place).toEqual({ path: "nodes.both.branches.left.nodes.push.output", field: "output", line: 7, within: undefined });
    expect(causeOf("The script at hooks.prep (line 2): x").place).toEqual({ path: "hooks.prep", field: "hooks.prep", line: 2, within: undefined });
  });

  it("is the whole of any other message", () => {
    for (const message of ["HTTP request failed with status 503", "The script at hand: fails", "${input.a} at nodes.b.params.value (line 3): TypeError: x", "The script at nodes.a: "]) {
      expect(causeFirst(message)).toBe(message);
    }
  });
});

it("names the secret that is missing", () => {
  expect(missingSecret("${secrets.SHOP_TOKEN}: there is no secret 'SHOP_TOKEN'")).toBe("SHOP_TOKEN");
  expect(missingSecret("there is no secret to replace")).toBeUndefined();
});

it("names the configuration value that is missing", () => {
  expect(missingConfig("there is no configuration value 'CHANNEL'")).toBe("CHANNEL");
  expect(missingConfig("${config.CHANNEL}: there was no configuration value 'CHANNEL' at the start")).toBe("CHANNEL");
  expect(missingConfig("there is no secret 'CHANNEL'")).toBeUndefined();
});
