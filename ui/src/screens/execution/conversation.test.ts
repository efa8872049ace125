import { expect, test } from "vitest";
import { callsOf, conversationIn } from "./conversation";

const CALL = { id: "c0", name: "orders", arguments: {} };

test("a conversation is what a model was sent, what it has answered, and what an agent has added; the rest stays beside it", () => {
  const asked = { role: "user", content: "Where?" };
  expect(conversationIn({ model: "m", system: "Be brief.", prompt: "Where?", temperature: 0 }, "llm")).toEqual({ messages: [{ role: "system", content: "Be brief." }, asked], others: { model: "m", temperature: 0 } });
  expect(conversationIn({ model: "m", messages: [asked], tools: [], mine: 1 }, "agent")).toEqual({ messages: [asked], others: { model: "m", tools: [], mine: 1 } });
  expect(conversationIn({ model: "m", system: null, messages: [asked] }, "llm")).toEqual({ messages: [asked], others: { model: "m", system: null } });
  expect(conversationIn({ model: "m", content: null, tool_calls: [CALL], usage: { input: 1 }, finish_reason: "tool_calls" }, "llm")).toEqual({
    messages: [{ role: "assistant", content: null, tool_calls: [CALL] }],
    others: { model: "m", usage: { input: 1 }, finish_reason: "tool_calls" },
  });
});

test.each(["http.request", "transform", undefined])("the value of a step of type %s is no conversation", (type) => {
  expect(conversationIn({ model: "m", messages: [{ role: "user", content: "a" }] }, type)).toBeUndefined();
});

test.each([null, 1, [], {}, { messages: null }, { messages: [] }, { messages: ["a"] }, { messages: [{ text: "a" }] }, { prompt: "a" }, { prompt: null, model: "m" }])("%j is no conversation", (value) => {
  expect(conversationIn(value, "llm")).toBeUndefined();
});

test("a call in the form of OpenAI has its name, and the arguments that its text is", () => {
  const openai = { id: "c0", type: "function", function: { name: "orders", arguments: '{"of": "Ada"}' } };
  expect(callsOf({ tool_calls: [openai] })).toMatchObject([{ id: "c0", name: "orders", arguments: { of: "Ada" } }]);
  expect(callsOf({ tool_calls: [{ ...CALL, arguments: "no JSON" }] })).toEqual([{ ...CALL, arguments: "no JSON" }]);
});
