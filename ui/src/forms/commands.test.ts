import { expect, test } from "vitest";
import { curl, literal, python } from "./commands";

const call = { method: "POST", path: "/api/v1/flows/x/run", workspace: "shop", body: { input: { who: "it's", ok: true, none: null } } } as const;

test("a command for the shell quotes what was typed", () => {
  expect(curl(call, "http://h")).toBe(
    `curl -X POST 'http://h/api/v1/flows/x/run' \\\n  -H "Authorization: Bearer $FLOWRUNNER_TOKEN" \\\n  -H 'Flowrunner-Workspace: shop' \\\n  -H 'Content-Type: application/json' \\\n  -d '{"input":{"who":"it'\\''s","ok":true,"none":null}}'`,
  );
});

test("a program in Python has the words of Python", () => {
  expect(literal(call.body)).toBe('{"input": {"who": "it\'s", "ok": True, "none": None}}');
  expect(python(call, "http://h")).toContain('data=json.dumps({"input"');
});
