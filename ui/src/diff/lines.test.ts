import fc from "fast-check";
import { expect, test } from "vitest";
import { diffLines, linesOf, merge } from "./lines";

// The same cases each time: a run in CI does not search for new ones.
fc.configureGlobal({ seed: 1 });

const texts = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 14 });

test("the difference leads from the old to the new text", () => {
  fc.assert(
    fc.property(texts, texts, (before, after) => {
      const changes = diffLines(before, after);
      expect(changes.filter(({ kind }) => kind !== "added").map(({ text }) => text)).toEqual(before);
      expect(changes.filter(({ kind }) => kind !== "removed").map(({ text }) => text)).toEqual(after);
      for (const { text, before: from, after: to } of changes) {
        if (from !== null) expect(before[from - 1]).toBe(text);
        if (to !== null) expect(after[to - 1]).toBe(text);
      }
    }),
  );
});

test("the difference of a changed line is that line", () => {
  const changes = diffLines(linesOf("a\nb\nc\n"), linesOf("a\nx\nc\n"));
  expect(changes.map(({ kind, text }) => kind[0] + text)).toEqual(["sa", "rb", "ax", "sc"]);
});

test("two changes to different lines merge", () => {
  expect(merge(["a", "b", "c", "d", "e"], ["A", "b", "c", "d", "e"], ["a", "b", "c", "d", "e", "f"])).toEqual([{ kind: "merged", lines: ["A", "b", "c", "d", "e", "f"] }]);
});

test("two different changes to one line are a conflict", () => {
  expect(merge(["a", "b", "c"], ["a", "mine", "c"], ["a", "theirs", "c"])).toEqual([
    { kind: "merged", lines: ["a"] },
    { kind: "conflict", base: ["b"], mine: ["mine"], theirs: ["theirs"] },
    { kind: "merged", lines: ["c"] },
  ]);
});

test("a merge with the unchanged text is the other change", () => {
  fc.assert(
    fc.property(texts, texts, (base, changed) => {
      const lines = merge(base, changed, base).flatMap((chunk) => (chunk.kind === "merged" ? chunk.lines : ["conflict"]));
      expect(lines).toEqual(changed);
      expect(merge(base, changed, changed).every(({ kind }) => kind === "merged")).toBe(true);
    }),
  );
});
