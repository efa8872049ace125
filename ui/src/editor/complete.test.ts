import { expect, test } from "vitest";
import { complete } from "./complete";
import type { Known } from "./names";
import { FlowSchema } from "./schema";
import fixture from "./schema.fixture.json";

const schema = new FlowSchema(fixture);
const known: Known = {
  secrets: ["API_KEY", "HOOK"],
  config: ["CHANNEL", "LIMIT"],
  actions: new Map<string, string[] | null>([["http.request", ["default"]], ["approval", ["approved", "rejected", "timeout"]], ["switch", null]]),
  errors: new Map([["http.request", ["http", "timeout"]], ["", ["expression"]]]),
};

/** What is offered at `|`. */
function offered(text: string): string[] {
  const offset = text.indexOf("|");
  const found = complete(text.slice(0, offset) + text.slice(offset + 1), offset, schema, known);
  return (found?.items ?? []).map(({ label }) => label);
}

/** The text after the choice of an item. */
function chosen(text: string, label: string): string {
  const offset = text.indexOf("|");
  const whole = text.slice(0, offset) + text.slice(offset + 1);
  const found = complete(whole, offset, schema, known)!;
  const item = found.items.find((each) => each.label === label)!;
  return whole.slice(0, found.from) + (item.insert ?? item.label) + whole.slice(found.to);
}

const FLOW = `inputs:
  region: {type: string}
vars: {api: {url: "http://x"}}
nodes:
  fetch:
    type: http.request
    params: {url: "x"}
    next: ask
  ask:
    type: approval
    params: {prompt: "?"}
  each:
    type: foreach
    params: {items: "\${input}", as: order}
    nodes:
      push:
        type: log
`;

test("an empty document begins with the keys of a flow", () => {
  expect(offered("|")).toContain("nodes");
  expect(offered("metadata: {name: x}\n|")).not.toContain("metadata");
});

test("types are those of the registry", () => {
  expect(offered("nodes:\n  a:\n    type: |")).toEqual(expect.arrayContaining(["http.request", "foreach", "approval"]));
  expect(chosen("nodes:\n  a:\n    type: ht|\n    params: {url: x}\n", "http.request")).toBe("nodes:\n  a:\n    type: http.request\n    params: {url: x}\n");
});

test("params are those of the node's type, required ones first", () => {
  const params = offered("nodes:\n  a:\n    type: http.request\n    params:\n      |");
  expect(params[0]).toBe("url");
  expect(params).toEqual(expect.arrayContaining(["method", "headers"]));
  expect(params).not.toContain("prompt");
  expect(offered("nodes:\n  a: {type: approval, params: {|}}")).toEqual(expect.arrayContaining(["prompt"]));
  expect(offered("nodes:\n  a: {type: approval, params: {|")).toEqual(expect.arrayContaining(["prompt"]));
  expect(offered("nodes:\n  a: {type: approval, params: {prompt: x, |\n  b: {type: log}\n")).toEqual(expect.arrayContaining(["form"]));
});

test("a key that is there is not offered again", () => {
  expect(offered("nodes:\n  a:\n    type: http.request\n    params: {url: x, |}")).not.toContain("url");
});

test("keys of a node depend on its type", () => {
  expect(offered("nodes:\n  a:\n    type: foreach\n    |")).toContain("nodes");
  expect(offered("nodes:\n  a:\n    type: log\n    |")).not.toContain("nodes");
});

test("next leads to the nodes of its scope", () => {
  expect(offered(FLOW.replace("next: ask", "next: |"))).toEqual(["fetch", "ask", "each"]);
  expect(offered(FLOW.replace("        type: log\n", "        type: log\n        next: |\n      other: {type: log}\n"))).toEqual(["push", "other"]);
});

test("next offers the actions and errors of the node", () => {
  const names = offered(FLOW.replace('params: {prompt: "?"}', 'params: {prompt: "?"}\n    next: {|}'));
  expect(names).toEqual(expect.arrayContaining(["approved", "rejected", "error", "error.expression"]));
  expect(offered("nodes:\n  a:\n    type: switch\n    params: {cases: [{when: x, action: big}]}\n    next: {|}")).toEqual(expect.arrayContaining(["big", "default"]));
});

test("expressions offer what is in scope", () => {
  const at = (expression: string) => offered(FLOW.replace('url: "x"', () => `url: "${expression}"`));
  expect(at("${|}")).toEqual(expect.arrayContaining(["input", "nodes", "flow", "vars", "secrets"]));
  expect(at("${secrets.|}")).toEqual(["API_KEY", "HOOK"]);
  expect(at("${config.|}")).toEqual(["CHANNEL", "LIMIT"]);
  expect(at("Bearer ${secrets.A|}")).toEqual(["API_KEY", "HOOK"]);
  expect(at("${flow.input.|}")).toEqual(["region"]);
  expect(at("${vars.|}")).toEqual(["api"]);
  expect(at("${vars.api.|}")).toEqual(["url"]);
  expect(at("${nodes.|}")).toEqual(["ask", "each"]);
  expect(at("${nodes.ask.|}")).toContain("result");
  expect(at("${input.length > nodes.|}")).toEqual(["ask", "each"]);
  expect(at("$${|}")).toEqual([]);
});

test("an unfinished expression does not hide what the document has", () => {
  expect(offered(FLOW.replace('url: "x"', 'url: "${nodes.|'))).toEqual(["ask", "each"]);
});

test("a loop names its element", () => {
  const text = FLOW.replace("        type: log\n", '        type: log\n        params: {message: "${|}"}\n');
  expect(offered(text)).toEqual(expect.arrayContaining(["order", "index"]));
  expect(offered(FLOW.replace('url: "x"', 'url: "${|}"'))).not.toContain("order");
});

test("conditions are expressions without braces", () => {
  expect(offered("nodes:\n  a:\n    type: switch\n    params:\n      cases:\n        - when: |")).toContain("input");
});

test("a key that all objects have is one of the others of a schema", () => {
  const schema = new FlowSchema({ properties: { a: {} }, additionalProperties: { type: "string" } });
  expect(schema.at(["toString"], { toString: "x" })).toEqual([{ type: "string" }]);
});

test("maps go on in a line below", () => {
  expect(chosen("nodes:\n  a:\n    type: log\n    par|", "params")).toBe("nodes:\n  a:\n    type: log\n    params:\n      ");
  expect(chosen("nodes:\n  a: {type: log, par|}", "params")).toBe("nodes:\n  a: {type: log, params: }");
});

test("words that YAML would read as something else are quoted", () => {
  const text = "nodes:\n  a:\n    type: log\n    next: |\n  true: {type: log}\n";
  expect(chosen(text, "true")).toContain("next: true");
});

test("a large document is completed in any place without an error", () => {
  for (let offset = 0; offset <= FLOW.length; offset += 2) complete(FLOW, offset, schema, known);
});

test("rules of the language are completed at every place without an error", () => {
  const files = import.meta.glob("../../../tests/language/rules/*/*.yaml", { query: "?raw", import: "default", eager: true });
  const texts = Object.values(files) as string[];
  expect(texts.length).toBeGreaterThan(10);
  for (const text of texts.slice(0, 20)) {
    for (let offset = 0; offset <= Math.min(text.length, 2500); offset += 97) complete(text, offset, schema, known);
  }
});

test("a schedule's trigger has its last execution", () => {
  const text = (after: string) => `triggers:\n  t: {type: schedule, every: 1h, input: {x: "\${${after}|}"}}\nnodes: {a: {type: return}}\n`;
  expect(offered(text("trigger."))).toContain("last");
  expect(offered(text("trigger.last."))).toEqual(["id", "due_at", "started_at", "completed_at", "result"]);
});

test("the expressions of an agent's tool see its call, with the arguments of its schema", () => {
  const tool = (expression: string) => `nodes:
  answer:
    type: agent
    params:
      model: m
      tools:
        - name: orders
          parameters: {type: object, properties: {status: {type: string}}}
          http.request: {url: "x", query: {status: "\${${expression}`;
  expect(offered(tool('|"}}\n'))).toContain("call");
  expect(offered(tool('call.|"}}\n'))).toEqual(["arguments", "id", "name"]);
  expect(offered(tool('call.arguments.|"}}\n'))).toEqual(["status"]);
  expect(offered('nodes:\n  a:\n    type: log\n    params: {message: "${|"}\n')).not.toContain("call");
});
