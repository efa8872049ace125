import { expect, test } from "vitest";
import { messagesIn } from "./conversation";

const CALL = { id: "c0", name: "orders", arguments: {} };

test("a conversation is what a model was sent, what it has answered, and what an agent has added", () => {
  const asked = { role: "user", content: "Where?" };
  expect(messagesIn({ model: "m", system: "Be brief.", prompt: "Where?" })).toEqual([{ role: "system", content: "Be brief." }, asked]);
  expect(messagesIn({ model: "m", messages: [asked], tools: [] })).toEqual([asked]);
  expect(messagesIn({ model: "m", content: null, tool_calls: [CALL] })).toEqual([{ role: "assistant", content: null, tool_calls: [CALL] }]);
});

test.each([null, 1, [], {}, { messages: null }, { messages: [] }, { messages: ["a"] }, { messages: [{ text: "a" }] }, { prompt: "a" }, { prompt: null, model: "m" }])("%j is no conversation", (value) => {
  expect(messagesIn(value)).toBeUndefined();
});
