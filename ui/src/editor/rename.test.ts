import { expect, test } from "vitest";
import { parse } from "yaml";
import { renameNode } from "./rename";

const FLOW = `# Orders
on_failure: fetch
nodes:
  fetch:   # asks the shop
    type: http.request
    params: {url: "http://shop/fetch"}
    next: {success: each, error: "fetch"}
  each:
    type: foreach
    params: {items: "\${nodes.fetch.result.body}"}
    nodes:
      fetch: {type: log, params: {message: "\${nodes.fetch.result}"}}
    next: done
  done: {type: return, params: {value: "\${nodes['fetch'].result + nodes.fetched + x.nodes.fetch}"}}
tests:
  all:
    mocks: {fetch: {result: {body: [1]}}, each.fetch: {result: 1}}
    flows: {each: {mocks: {fetch: {result: 1}}}}
    expect: {path: [fetch, each, done], tries: {fetch: 1}}
`;

test("a node has another name wherever the document names it", () => {
  const text = renameNode(FLOW, ["nodes", "fetch"], "ask")!;
  expect(text).toContain("  ask:   # asks the shop");
  expect(text).toContain('url: "http://shop/fetch"');
  expect(text).toContain('next: {success: each, error: "ask"}');
  expect(text).toContain("on_failure: ask\n");
  expect(text).toContain('items: "${nodes.ask.result.body}"');
  expect(text).toContain("${nodes.ask.result + nodes.fetched + x.nodes.fetch}");
  expect(text).toContain("mocks: {ask: {result: {body: [1]}}, each.fetch: {result: 1}}");
  expect(text).toContain("flows: {each: {mocks: {fetch: {result: 1}}}}");
  expect(text).toContain("expect: {path: [ask, each, done], tries: {ask: 1}}");
  // The node of the loop is another one.
  expect(text).toContain('fetch: {type: log, params: {message: "${nodes.fetch.result}"}}');
});

test("a node of a loop is renamed within it", () => {
  const text = renameNode(FLOW, ["nodes", "each", "nodes", "fetch"], "say")!;
  expect(text).toContain('say: {type: log, params: {message: "${nodes.say.result}"}}');
  expect(text).toContain("each.say: {result: 1}");
  expect(text).toContain("  fetch:   # asks the shop");
  expect(text).toContain("on_failure: fetch");
});

test("a loop that is renamed keeps its nodes in the tests", () => {
  const text = renameNode(FLOW, ["nodes", "each"], "every order")!;
  expect(parse(text).tests.all.mocks).toEqual({ fetch: { result: { body: [1] } }, "every order.fetch": { result: 1 } });
  expect(parse(text).nodes.fetch.next.success).toBe("every order");
});

test("a name that is taken is not given, and nothing is done to a broken text", () => {
  expect(renameNode(FLOW, ["nodes", "fetch"], "done")).toBeNull();
  expect(renameNode(`${FLOW}x: [`, ["nodes", "fetch"], "ask")).toBeNull();
});

test("a parameter of another type that has the name of a node stays", () => {
  const pager = (tell: string) => `nodes:\n  ask: {type: acme.pager, params: {notify: slack, link: https://x, remind: 1h}}\n  ${tell}: {type: log}\n`;
  expect(renameNode(pager("slack"), ["nodes", "slack"], "chat")).toBe(pager("chat"));
});

test("an approval notifies by a node under its new name", () => {
  const asking = (tell: string) => `nodes:\n  ask: {type: approval, params: {prompt: tell, notify: ${tell}}}\n  ${tell}: {type: log, params: {message: tell}}\n`;
  expect(renameNode(asking("tell"), ["nodes", "tell"], "send")).toBe(asking("send"));
});
