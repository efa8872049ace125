import fc from "fast-check";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { applyChange, connect, format, freeName, insertAfter, insertBefore, removeIn, removeNode, setIn } from "./edits";

// The same cases each time: a run in CI does not search for new ones.
fc.configureGlobal({ seed: 1 });

const FLOW = `# Orders of the day
nodes:
  fetch:   # asks the shop
    type: http.request
    params:
      url: "http://shop/orders"   # all of them
      headers: {Accept: json}
    next: done

  done: {type: return, params: {value: "\${input}"}}  # the end
`;

function set(text: string, keys: (string | number)[], value: unknown): string {
  return applyChange(text, setIn(text, keys, value)!);
}

test("a changed value leaves every other character as it was", () => {
  expect(set(FLOW, ["nodes", "fetch", "params", "url"], "http://x")).toBe(FLOW.replace("http://shop/orders", "http://x"));
  expect(set(FLOW, ["nodes", "fetch", "params", "headers", "Accept"], "text")).toBe(FLOW.replace("json", "text"));
  expect(set(FLOW, ["nodes", "done", "params", "value"], 3)).toBe(FLOW.replace('"${input}"', () => "3"));
});

test("a new key is written behind the others, in their style", () => {
  expect(set(FLOW, ["nodes", "fetch", "params", "method"], "POST")).toBe(FLOW.replace("{Accept: json}\n", "{Accept: json}\n      method: POST\n"));
  expect(set(FLOW, ["nodes", "done", "timeout"], "5s")).toContain("}, timeout: 5s}  # the end");
  expect(set(FLOW, ["nodes", "fetch", "retry", "max"], 5)).toContain("    next: done\n    retry:\n      max: 5\n");
});

test("a text of several lines is written as a block", () => {
  const text = set(FLOW, ["nodes", "fetch", "params", "body"], "a\nb\n");
  expect(text).toContain("      body: |\n        a\n        b\n");
  const again = set(text, ["nodes", "fetch", "params", "body"], "one");
  expect(parse(again)).toEqual({ ...parse(FLOW), nodes: { ...parse(FLOW).nodes, fetch: { ...parse(FLOW).nodes.fetch, params: { ...parse(FLOW).nodes.fetch.params, body: "one" } } } });
});

test("a removed key takes its lines", () => {
  const change = removeIn(FLOW, ["nodes", "fetch", "params", "url"])!;
  expect(applyChange(FLOW, change)).toBe(FLOW.replace('      url: "http://shop/orders"   # all of them\n', ""));
  expect(applyChange(FLOW, removeIn(FLOW, ["nodes", "done", "type"])!)).toContain('done: {params: {value: "${input}"}}');
});

test("a key without a value or a colon leaves within braces alone what follows it", () => {
  const remove = (text: string, key: string) => applyChange(text, removeIn(text, [key])!);
  expect(remove("{a, b: 1}", "a")).toBe("{b: 1}");
  expect(remove("{a: , b: 1}", "a")).toBe("{b: 1}");
  expect(remove("{b: 1, a}", "a")).toBe("{b: 1}");
});

test("a node is inserted between a node and the next", () => {
  const text = insertAfter(FLOW, ["nodes", "fetch"], "log", { type: "log", params: { message: "hi" } })!;
  expect(text).toContain("    next: log\n  log:\n    type: log\n    params:\n      message: hi\n    next: done\n");
  expect(text).toContain("# asks the shop");
  expect(text).toContain("# all of them");
});

test("a node before another one takes over what leads to it, and the start of the flow", () => {
  const text = insertBefore(FLOW, ["nodes", "done"], "log", { type: "log" })!;
  expect([parse(text).nodes.fetch.next, parse(text).nodes.log]).toEqual(["log", { type: "log", next: "done" }]);
  expect(text).toContain("# all of them");
  const first = insertBefore("start: a\nnodes:\n  a: {type: return, next: {error: b}}\n  b: {type: log, next: a}\n", ["nodes", "a"], "c", { type: "log" })!;
  expect(parse(first)).toEqual({ start: "c", nodes: { a: { type: "return", next: { error: "b" } }, b: { type: "log", next: "c" }, c: { type: "log", next: "a" } } });
});

test("a node before one that handles an end of the flow handles it instead", () => {
  const text = "on_failure: tell\non_finish: 'tell' # always\nnodes:\n  a: {type: log}\n  tell: {type: return}\n";
  const changed = insertBefore(text, ["nodes", "tell"], "log", { type: "log" })!;
  expect(parse(changed)).toEqual({ on_failure: "log", on_finish: "log", nodes: { a: { type: "log" }, tell: { type: "return" }, log: { type: "log", next: "tell" } } });
  expect(changed).toContain("on_finish: 'log' # always\n");
});

test("a key without a colon gets a value within braces", () => {
  expect(set("{a, b: 1}", ["a"], 2)).toBe("{a: 2, b: 1}");
});

test("a node is inserted after the last one", () => {
  const text = insertAfter(FLOW, ["nodes", "done"], "log", { type: "log" })!;
  expect(parse(text).nodes.done.next).toBe("log");
  expect(parse(text).nodes.log).toEqual({ type: "log" });
});

test("an edge is added to those that are there", () => {
  const text = connect(FLOW, ["nodes", "fetch"], "error.http", "done")!;
  expect(parse(text).nodes.fetch.next).toEqual({ default: "done", "error.http": "done" });
  expect(parse(connect(text, ["nodes", "fetch"], "default", "fetch")!).nodes.fetch.next).toEqual({ default: "fetch", "error.http": "done" });
});

test("a removed node leaves its neighbours joined", () => {
  const text = insertAfter(FLOW, ["nodes", "fetch"], "log", { type: "log" })!;
  expect(parse(removeNode(text, ["nodes", "log"])!)).toEqual(parse(FLOW));
  expect(parse(removeNode(FLOW, ["nodes", "done"])!).nodes.fetch.next).toBeUndefined();
});

test("nothing names a removed node: what came after it starts the flow or handles its end instead, if there is something", () => {
  const text = "start: a # here\non_failure: tell\non_finish: tell\nnodes:\n  a: {type: log, next: b}\n  b: {type: log, next: a}\n  tell: {type: log}\n";
  const first = removeNode(text, ["nodes", "a"])!;
  expect(first).toContain("start: b # here\non_failure: tell\non_finish: tell\n");
  expect(parse(removeNode(text, ["nodes", "tell"])!)).toEqual({ start: "a", nodes: { a: { type: "log", next: "b" }, b: { type: "log", next: "a" } } });
  expect(parse(removeNode(insertBefore(text, ["nodes", "tell"], "log", { type: "log" })!, ["nodes", "log"])!)).toEqual(parse(text));
  expect(parse(removeNode("start: a\nnodes: {a: {type: log}, b: {type: log}}\n", ["nodes", "a"])!)).toEqual({ nodes: { b: { type: "log" } } });
  const inner = "start: a\nnodes: {loop: {type: foreach, start: a, nodes: {a: {type: log, next: b}, b: {type: log}}}}\n";
  expect(parse(removeNode(inner, ["nodes", "loop", "nodes", "a"])!)).toEqual({ start: "a", nodes: { loop: { type: "foreach", start: "b", nodes: { b: { type: "log" } } } } });
});

test("an approval whose notice is removed notifies no more, and has no link and no reminder", () => {
  const text = "nodes:\n  ask:\n    type: approval # money\n    params:\n      prompt: Pay?\n      notify: tell\n      link: true\n      remind: 1h\n    next: {approved: done}\n  tell: {type: log}\n  done: {type: log}\n";
  expect(removeNode(text, ["nodes", "tell"])).toBe("nodes:\n  ask:\n    type: approval # money\n    params:\n      prompt: Pay?\n    next: {approved: done}\n  done: {type: log}\n");
  expect(parse(removeNode("nodes: {ask: {type: approval, params: {notify: tell}}, tell: {type: log}}\n", ["nodes", "tell"])!)).toEqual({ nodes: { ask: { type: "approval", params: {} } } });
});

test("parameters of another type stay when the node is removed whose name they have", () => {
  const pager = "nodes:\n  ask: {type: acme.pager, params: {notify: slack, link: https://x, remind: 1h}}\n";
  expect(removeNode(`${pager}  slack: {type: log}\n`, ["nodes", "slack"])).toBe(pager);
});

test("a document with syntax errors is not changed", () => {
  expect(setIn("nodes: {a: ", ["nodes", "b"], 1)).toBeNull();
  expect(format("a: [")).toBeNull();
  expect(format("a: *nothing")).toBeNull();
});

test("names that are taken get a number", () => {
  expect(freeName("http.request", ["http_request", "http_request_2"])).toBe("http_request_3");
});

test("the usual layout keeps comments", () => {
  expect(format(FLOW)).toContain("# asks the shop");
  expect(parse(format(FLOW)!)).toEqual(parse(FLOW));
});

test("a key without a value keeps its colon apart from what follows", () => {
  expect(format("metadata: {name: , tags: [{a: }, {b: ~}]}\nnodes:\n  ")).toBe("metadata: {name: null, tags: [{a: null}, {b: ~}]}\nnodes:\n");
});

test("large numbers keep their digits", () => {
  expect(format("a: {n: 9007199254740993, x: 0x1F, f: 1.50}\n")).toBe("a: {n: 9007199254740993, x: 0x1f, f: 1.50}\n");
});

const leaves = fc.oneof(fc.string({ maxLength: 12 }), fc.integer(), fc.boolean(), fc.constant(null), fc.constantFrom("two\nlines", "a: b", "# x", "${x}", "yes", "- y"));
const keys = fc.constantFrom("a", "b", "c", "d e");
const values = fc.letrec((tie) => ({ value: fc.oneof({ depthSize: "small" }, leaves, fc.dictionary(keys, tie("value"), { minKeys: 1, maxKeys: 3, noNullPrototype: true }), fc.array(leaves, { maxLength: 3 })) })).value;

test("a value that is set is read again, and nothing else changes", () => {
  fc.assert(
    fc.property(fc.dictionary(keys, values, { minKeys: 1, noNullPrototype: true }), fc.array(keys, { minLength: 1, maxLength: 3 }), values, fc.boolean(), (document, path, value, isFlow) => {
      const text = stringify(document, { collectionStyle: isFlow ? "flow" : "any" });
      const change = setIn(text, path, value);
      const expected = structuredClone(document) as Record<string, unknown>;
      let at = expected;
      for (const key of path.slice(0, -1)) {
        if (typeof at[key] !== "object" || at[key] === null || Array.isArray(at[key])) at[key] = {};
        at = at[key] as Record<string, unknown>;
      }
      at[path.at(-1)!] = value;
      expect(parse(applyChange(text, change!))).toEqual(expected);
    }),
    { numRuns: 150 },
  );
});

test.each([
  ["a block", "tools:\n  - name: a\n    flow: b # why\n  # of c\n  - {name: c}\nend: 1\n", 'tools:\n  - name: a\n    flow: b # why\n  # of c\n  - {name: c}\n  - name: d\n    url: ""\nend: 1\n', "tools:\n  # of c\n  - {name: c}\nend: 1\n"],
  ["a block at the end", "a:\n- x: 1\n- x: 2", 'a:\n- x: 1\n- x: 2\n- name: d\n  url: ""', "a:\n- x: 2"],
  ["brackets", "tools: [{name: a}, {name: c}] # both\n", 'tools: [{name: a}, {name: c}, {name: d, url: ""}] # both\n', "tools: [{name: c}] # both\n"],
])("an item is added to %s, and removed", (_, text, added, removed) => {
  const key = text.slice(0, text.indexOf(":"));
  const change = setIn(text, [key, 2], { name: "d", url: "" })!;
  expect(applyChange(text, change)).toBe(added);
  expect(parse(applyChange(added, removeIn(added, [key, 2])!))).toEqual(parse(text));
  expect(applyChange(text, removeIn(text, [key, 0])!)).toBe(removed);
  expect(parse(applyChange(removed, removeIn(removed, [key, 0])!))?.[key]).toBeUndefined();
});

test.each([
  ["its comma", "tools: [\n  {name: x}, # first\n  {name: y}, # second\n]\n", "tools: [\n  {name: x}, # first\n  {name: y}, {name: d}, # second\n]\n"],
  ["no comma", "tools: [\n  {name: x}, # first\n  {name: y} # second\n]\n", "tools: [\n  {name: x}, # first\n  {name: y}, {name: d} # second\n]\n"],
])("an item is added in brackets before the comment of the last one, which has %s", (_, text, added) => {
  expect(set(text, ["tools", 2], { name: "d" })).toBe(added);
});

test.each([
  ["a: [ # none yet\n]\n", ["a", 0], "a: [1 # none yet\n]\n"],
  ["a: {b: 2, # all\n}\n", ["a", "c"], "a: {b: 2, c: 1, # all\n}\n"],
  ["a: {b # all\n}\n", ["a", "c"], "a: {b, c: 1 # all\n}\n"],
  ["a: {b: } # all\n", ["a", "c"], "a: {b: , c: 1} # all\n"],
])("nothing is added into a comment of %j", (text, keys, added) => {
  expect(set(text, keys, 1)).toBe(added);
});

test.each([
  ["a:\n  -\n    # a well-known one\n    name: y\n  - name: z\n", ["a", 0], "a:\n  - name: z\n"],
  ["a:\n  - name: z # - not -\n  - # one-two\n    name: y\n", ["a", 1], "a:\n  - name: z # - not -\n"],
  ["- - a-b\n  - c\n- d\n", [0, 0], "- - c\n- d\n"],
])("an item of %j is removed from its dash on", (text, keys, removed) => {
  expect(applyChange(text, removeIn(text, keys)!)).toBe(removed);
});
