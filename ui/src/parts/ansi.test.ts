import fc from "fast-check";
import { expect, test } from "vitest";
import { piecesOf, withoutSequences } from "./ansi";

const ESC = "\x1b";

test("colours and styles become names, and end where they are ended", () => {
  expect(piecesOf(`a ${ESC}[1;31mred${ESC}[22m less${ESC}[0m b`)).toEqual([
    { text: "a ", look: "" },
    { text: "red", look: "ansi-1 ansi-bold" },
    { text: " less", look: "ansi-1" },
    { text: " b", look: "" },
  ]);
  expect(piecesOf(`${ESC}[92;44mx`)).toEqual([{ text: "x", look: "ansi-2 ansi-on-4" }]);
  expect(piecesOf(`${ESC}[7;33mx${ESC}[my`)).toEqual([{ text: "x", look: "ansi-on-3" }, { text: "y", look: "" }]);
});

test.each([
  ["38;5;9", 1], ["38;5;46", 2], ["38;5;240", 0], ["38;5;250", 7], ["38;2;250;120;10", 1], ["38:2:20:20:200", 4], ["38;2;255;255;0", 3], ["97", 7],
])("%s is the nearest of eight colours", (code, colour) => {
  expect(piecesOf(`${ESC}[${code}mx`)).toEqual([{ text: "x", look: `ansi-${colour}` }]);
});

test.each([
  `${ESC}[2J`, `${ESC}[10;20H`, `${ESC}]8;;https://evil.example${ESC}\\`, `${ESC}]0;title\x07`, `${ESC}(B`, `${ESC}c`, `${ESC}[?25l`, ESC, `${ESC}[`, `${ESC}[31`, `${ESC}]8;;cut`,
])("the sequence %j is left out", (sequence) => {
  expect(piecesOf(`a${sequence}`)).toEqual([{ text: "a", look: "" }]);
  expect(withoutSequences(`a${sequence}`)).toBe("a");
});

test("any text keeps its letters, in few pieces", () => {
  const part = fc.oneof(fc.string(), fc.constantFrom(ESC, "[", "]", ";", "m", `${ESC}[31m`, `${ESC}[38;5;`, `${ESC}[0m`, "\x9b", "\x07", "<img src=x onerror=alert(1)>"));
  fc.assert(fc.property(fc.array(part, { maxLength: 40 }), (parts) => {
    const text = parts.join("");
    const pieces = piecesOf(text);
    expect(pieces.map((piece) => piece.text).join("")).toBe(withoutSequences(text));
    for (const { look } of pieces) expect(look).toMatch(/^[a-z0-9 -]*$/);
  }));
  expect(piecesOf(`${ESC}[31mx${ESC}[32my`.repeat(5000)).length).toBeLessThanOrEqual(201);
});
