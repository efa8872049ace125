import { expect, it } from "vitest";
import { numberOf, parseJson } from "./json";

it.each(['{"id":12345678901234567890}', '{"ids":[-9007199254740993,1,0.1],"text":"12345678901234567890"}', '{"n":0}', "9007199254740991"])("keeps each digit of %s", (text) => {
  expect(JSON.stringify(parseJson(text))).toBe(text);
});

it("reads numbers as numbers where they are exact, and fractions as near as they come", () => {
  expect(parseJson("[9007199254740991, 1234567890123456789.5, 1e300, 0]")).toEqual([9007199254740991, 1234567890123456789.5, 1e300, 0]);
  expect([numberOf("42"), numberOf("1.5"), numberOf("12345678901234567890")]).toEqual([42, 1.5, 12345678901234567890n]);
});
