import { expect, test } from "vitest";
import fixture from "../editor/schema.fixture.json";
import { FlowSchema } from "../editor/schema";
import { fieldOf, inputFields, textOf, valueOf } from "./fields";

const fields = inputFields({
  region: { type: "string", enum: ["eu", "us"], default: "eu" },
  limit: { type: "integer", minimum: 1, maximum: 10 },
  dry: { type: "boolean", required: false },
  tags: { type: "array" },
  day: { type: "string", format: "date" },
  any: {},
});
const [region, limit, dry, tags, day, any] = fields;

test("inputs become fields that fit their types", () => {
  expect([region, limit, dry, tags, day, any].map((field) => field!.kind)).toEqual(["choice", "number", "boolean", "structure", "date", "structure"]);
  expect([region, limit, dry].map((field) => field!.isRequired)).toEqual([false, true, false]);
});

test("what is typed becomes a value of the type, or a fault", () => {
  expect(valueOf(limit!, "7")).toEqual({ value: 7 });
  expect(valueOf(limit!, "7.5")).toEqual({ fault: "This is not a whole number" });
  expect(valueOf(limit!, "11")).toEqual({ fault: "At most 10" });
  expect(valueOf(limit!, "x")).toEqual({ fault: "This is not a number" });
  expect(valueOf(limit!, "")).toEqual({ value: undefined });
  expect(valueOf(dry!, "false")).toEqual({ value: false });
  expect(valueOf(tags!, "[a, 1]")).toEqual({ value: ["a", 1] });
  expect(valueOf(tags!, "a: 1")).toEqual({ fault: "Write a list: [a, b]" });
  expect(valueOf(tags!, "[")).toEqual({ fault: "This is not valid JSON or YAML" });
  expect(valueOf(any!, '{"a": null}')).toEqual({ value: { a: null } });
});

test("a number that JSON cannot hold is no number", () => {
  const [amount] = inputFields({ amount: { type: "number" } });
  for (const text of ["1e999", "-1e999", "Infinity", "NaN"]) expect(valueOf(amount!, text)).toEqual({ fault: "This is not a number" });
  expect(valueOf(amount!, "1e300")).toEqual({ value: 1e300 });
});

test("the title of an input stands for its name", () => {
  expect(inputFields({ iban: { type: "string", title: "Account" }, amount: { title: 7 }, note: { title: " " } }).map(({ name, title }) => [name, title])).toEqual([["iban", "Account"], ["amount", "amount"], ["note", "note"]]);
});

test("a value is shown as it can be typed again", () => {
  for (const value of [["a", 1], { a: { b: [1] } }, 3, true, "text"]) expect(valueOf(any!, textOf(any!, value))).toEqual({ value });
});

/** Return the field of a node's parameter, or of a key of the node itself. */
function nodeField(type: string, name: string, value?: unknown) {
  const isParam = name !== "if" && name !== "params";
  const node = { type, params: isParam ? { [name]: value } : {} };
  const data = { nodes: { a: node } };
  const path = ["nodes", "a", ...(isParam ? ["params"] : [])];
  return fieldOf(name, new FlowSchema(fixture).below(path, name, data), false, true);
}

test("a message is text as it was typed, also in place of an expression", () => {
  for (const [type, name] of [["log", "message"], ["approval", "prompt"], ["fail", "message"]] as const) {
    for (const now of [undefined, "${input.text}"]) {
      const field = nodeField(type, name, now);
      expect(field.kind).toBe("lines");
      for (const text of ["Total: 5", "007", "[urgent] look", "# 1", "it's \"q\" # c", "two\nlines", "a: b: c"]) expect(valueOf(field, text)).toEqual({ value: text });
    }
  }
});

test("a script is text", () => {
  const field = nodeField("transform", "script");
  const script = "const x = input.a;\nreturn {x: x, s: 'a: b'}";
  expect(valueOf(field, script)).toEqual({ value: script });
  expect(textOf(field, script)).toBe(script);
});

test("a condition is typed", () => {
  for (const field of [nodeField("while", "when"), nodeField("log", "if")]) {
    expect(field.kind).toBe("text");
    expect(field.choices).toEqual(["true", "false"]);
    expect(valueOf(field, "vars.page != null")).toEqual({ value: "vars.page != null" });
    expect(valueOf(field, "false")).toEqual({ value: false });
  }
});

test("text or a number is what was typed", () => {
  for (const [type, name] of [["http.request", "timeout"], ["wait", "timeout"]] as const) {
    expect(valueOf(nodeField(type, name), "30s")).toEqual({ value: "30s" });
    expect(valueOf(nodeField(type, name), "30")).toEqual({ value: 30 });
  }
  expect(valueOf(nodeField("flow", "version"), "1.2.0")).toEqual({ value: "1.2.0" });
  expect(valueOf(nodeField("flow", "version"), "3")).toEqual({ value: 3 });
  expect(valueOf(nodeField("parallel", "join"), "2")).toEqual({ value: 2 });
  expect(valueOf(nodeField("parallel", "join"), "any")).toEqual({ value: "any" });
  const [price] = inputFields({ price: { type: ["number", "string"] } });
  expect(price!.kind).toBe("text");
  for (const [text, value] of [["3.5", 3.5], ["3.50", 3.5], ["007", "007"], ["1e999", "1e999"], ["Infinity", "Infinity"], ["x", "x"]] as const) expect(valueOf(price!, text)).toEqual({ value });
});

test("an expression beside a number, a word or a map changes nothing of its field", () => {
  expect(nodeField("foreach", "concurrency").kind).toBe("number");
  expect(nodeField("log", "level").kind).toBe("choice");
  expect(nodeField("http.request", "response").choices).toEqual(["json", "text", "base64"]);
  expect(nodeField("http.request", "follow_redirects").kind).toBe("boolean");
  expect(nodeField("http.request", "headers", "${vars.headers}").kind).toBe("structure");
  expect(nodeField("set", "params").kind).toBe("structure");
});

test("a map and a list with expressions inside are no text", () => {
  const value = nodeField("transform", "value");
  const headers = nodeField("http.request", "headers");
  expect(valueOf(headers, "Authorization: Bearer ${secrets.T}\nX-A: b")).toEqual({ value: { Authorization: "Bearer ${secrets.T}", "X-A": "b" } });
  expect(valueOf(value, "id: ${input.id}\nall: [\"${input.a}\", 1]")).toEqual({ value: { id: "${input.id}", all: ["${input.a}", 1] } });
  expect(valueOf(nodeField("approval", "roles"), "- ${input.role}")).toEqual({ value: ["${input.role}"] });
  for (const field of [value, headers]) {
    for (const text of ["{x: ${input.y}}", "a: ${b ? 'c: d' : e}"]) expect(valueOf(field, text)).toEqual({ fault: "This is not valid JSON or YAML" });
    for (const text of ["${vars.headers}", "${ {a: 1, b: [2]} }"]) expect(valueOf(field, text)).toEqual({ value: text });
  }
  for (const text of ["Order ${input.id} is paid", "see https://example.com/${input.id}", "${a}: b", "two ${a}\nlines", "Order ${input.id}: paid"]) expect(valueOf(value, text)).toEqual({ value: text });
  expect(valueOf(value, '"id: ${input.id}"')).toEqual({ value: "id: ${input.id}" });
});

test("a value with expressions is shown as it can be typed again", () => {
  const field = nodeField("transform", "value");
  for (const value of [{ id: "${input.id}", all: ["${a}", { b: "x ${c}" }] }, ["${a}"], "${input}", "id: ${input.id}", "- ${a}", "'${a}'", "Order ${a}", "two ${a}\nlines", "a: ${b}\nlines"]) {
    expect(valueOf(field, textOf(field, value))).toEqual({ value });
  }
});

test("there are no fields for a flow without inputs", () => {
  expect(inputFields(undefined)).toEqual([]);
  expect(inputFields([1])).toEqual([]);
});

test("a text that may be long is written in several lines", () => {
  expect(inputFields({ note: { type: "string", maxLength: 201 }, name: { type: "string", maxLength: 200 } }).map(({ kind }) => kind)).toEqual(["lines", "text"]);
});

test("whole numbers beyond those of JavaScript keep their digits", () => {
  const [number, structure, either] = inputFields({ number: { type: "integer" }, structure: { type: "object" }, either: { type: ["integer", "string"] } });
  const long = "12345678901234567890";
  expect(JSON.stringify(["value" in valueOf(number!, long) && valueOf(number!, long), valueOf(structure!, `{id: ${long}, n: 1}`), valueOf(either!, long)])).toBe(`[{"value":${long}},{"value":{"id":${long},"n":1}},{"value":${long}}]`);
  expect([textOf(number!, 12345678901234567890n), textOf(structure!, { id: 12345678901234567890n })]).toEqual([long, `id: ${long}`]);
});
