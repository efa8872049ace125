import { expect, test } from "vitest";
import { placeAt } from "./place";

/** The place of `|` in a text. */
function at(text: string) {
  const offset = text.indexOf("|");
  const place = placeAt(text.slice(0, offset) + text.slice(offset + 1), offset);
  return place && [place.kind, place.path.join("."), place.word];
}

test.each([
  ["|", ["key", "", ""]],
  ["no|", ["key", "", "no"]],
  ["nodes:\n  |", ["key", "nodes", ""]],
  ["nodes:\n  a:\n    ty|", ["key", "nodes.a", "ty"]],
  ["nodes:\n  a:\n    type: ht|", ["value", "nodes.a.type", "ht"]],
  ["nodes:\n  a:\n    type: http.request\n  |", ["key", "nodes", ""]],
  ["nodes:\n  a: {type: log, par|", ["key", "nodes.a", "par"]],
  ["nodes:\n  a: {type: log, params: {message: x|", ["value", "nodes.a.params.message", "x"]],
  ["nodes:\n  a: {type: log,\n    next: |", ["value", "nodes.a.next", ""]],
  ["nodes:\n  a:\n    next: {default: b, error: |}", ["value", "nodes.a.next.error", ""]],
  ["nodes:\n  a:\n    params:\n      cases:\n        - {when: x, act|", ["key", "nodes.a.params.cases.0", "act"]],
  ["nodes:\n  a:\n    params:\n      cases:\n        - when: x\n          action: y\n        - when: |", ["value", "nodes.a.params.cases.1.when", ""]],
  ["nodes:\n  a:\n    params:\n      cases:\n      - when: x\n        |", ["key", "nodes.a.params.cases.0", ""]],
  ["nodes:\n  a:\n    params:\n      cases:\n      - when: x\n    |", ["key", "nodes.a", ""]],
  ["a: [x, y|", ["value", "a.1", "y"]],
  ["a: # note|", null],
  ["# note|", null],
  ['a: "x # ${secrets.|', ["value", "a", "x # ${secrets."]],
  ["a:\n  b: |\n", ["value", "a.b", ""]],
  ["'a b':\n  \"c: d\":\n    |", ["key", "a b.c: d", ""]],
  ["nodes:\n  a:\n    broken\n    type: |", ["value", "nodes.a.type", ""]],
  ["url: http://x/${vars.|", ["value", "url", "http://x/${vars."]],
])("the place in %j", (text, expected) => {
  expect(at(text)).toEqual(expected);
});

test("the text of a block scalar belongs to its key", () => {
  const text = "nodes:\n  a:\n    params:\n      script: |\n        return input.";
  expect(placeAt(text, text.length)).toMatchObject({ kind: "value", path: ["nodes", "a", "params", "script"], word: "return input." });
  const after = `${text}x\n    next: `;
  expect(placeAt(after, after.length)).toMatchObject({ kind: "value", path: ["nodes", "a", "next"] });
});

test("every position of the rules of the language has a place, or is in a comment", () => {
  const files = import.meta.glob("../../../tests/language/rules/*/*.yaml", { query: "?raw", import: "default", eager: true });
  const texts = Object.values(files) as string[];
  expect(texts.length).toBeGreaterThan(10);
  for (const text of texts.slice(0, 40)) {
    for (let offset = 0; offset <= Math.min(text.length, 3000); offset += 7) {
      const place = placeAt(text, offset);
      if (place !== null) expect(text.slice(place.from, offset)).toContain(place.word.trimEnd());
    }
  }
});
