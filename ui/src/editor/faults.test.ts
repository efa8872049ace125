import { expect, test } from "vitest";
import { applyChange } from "./edits";
import { placeFaults } from "./faults";

const TEXT = "nodes:\n  🦊: {type: log, next: aks}\n  ask: {type: log}\n";

test("a fault is placed at the word, also behind letters of two units", () => {
  const [fault] = placeFaults(TEXT, [{ path: "nodes.🦊.next", code: "edge.target", message: "no node", line: 2, column: 24, fix: { line: 2, column: 24, end_column: 27, text: "ask" } }], false);
  expect(TEXT.slice(fault!.from, fault!.to)).toBe("aks");
  expect(applyChange(TEXT, fault!.fix!)).toBe(TEXT.replace("aks", "ask"));
});

test("a fault without a place is at the beginning, and one behind the end at the end", () => {
  const [first, last] = placeFaults("a: b", [{ path: "", code: "x", message: "x" }, { path: "", code: "x", message: "x", line: 9, column: 1 }], true);
  expect([first!.from, first!.isWarning]).toEqual([0, true]);
  expect(last!.from).toBeLessThanOrEqual(4);
});

test("a message that says only what must be names what it is about", () => {
  const [named, whole, other] = placeFaults("a: b", [
    { path: "nodes.a.params.url", code: "x", message: "must be text" },
    { path: "", code: "x", message: "must be a map" },
    { path: "nodes.a.next", code: "x", message: "'bb' is not a node of this scope" },
  ], false);
  expect([named!.message, whole!.message, other!.message]).toEqual(["url must be text", "must be a map", "'bb' is not a node of this scope"]);
});

test("lines end as YAML ends them", () => {
  const text = "a: 1\r\nb: aks\r\n";
  const [fault] = placeFaults(text, [{ path: "b", code: "x", message: "x", line: 2, column: 4 }], false);
  expect(text.slice(fault!.from, fault!.to)).toBe("aks");
});
