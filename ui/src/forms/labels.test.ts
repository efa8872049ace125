import { expect, test } from "vitest";
import { readLabels, readTerm, termsOf } from "./labels";

test("a line is a label", () => {
  expect(readLabels("team:core\n\n env/stage : prod: 1 \n")).toEqual({ labels: { team: "core", "env/stage": "prod: 1" } });
  expect(readLabels("")).toEqual({ labels: {} });
  expect(readLabels("team:core\nteam")).toEqual({ fault: "team" });
  expect(readLabels("-a:b")).toEqual({ fault: "-a:b" });
});

test("a filter is a label or an input", () => {
  expect(readTerm("team:core")).toEqual(["label.team", "core"]);
  expect(readTerm("order_id=4:2")).toEqual(["input.order_id", "4:2"]);
  expect(readTerm("input.order_id=42")).toEqual(["input.order_id", "42"]);
  expect(readTerm("url:http://a?b=c")).toEqual(["label.url", "http://a?b=c"]);
  expect(readTerm("nothing")).toBeUndefined();
});

test("an address has labels and inputs", () => {
  const query = new URLSearchParams("status=failed&label.team=core&input.a.b=1");
  expect(termsOf(query).map(({ kind, name, value }) => [kind, name, value])).toEqual([["label", "team", "core"], ["input", "a.b", "1"]]);
});
