import { expect, test } from "vitest";
import { cli, curl, hookCurl, python } from "./commands";

const call = { method: "POST", path: "/api/v1/flows/x/run", workspace: "shop", body: { input: { who: "it's", ok: true, none: null } } } as const;

test("a command for the shell quotes what was typed", () => {
  expect(curl(call, "http://h")).toBe(
    `curl -X POST 'http://h/api/v1/flows/x/run' \\\n  -H "Authorization: Bearer $FLOWRUNNER_TOKEN" \\\n  -H 'Flowrunner-Workspace: shop' \\\n  -H 'Content-Type: application/json' \\\n  -d '{"input":{"who":"it'\\''s","ok":true,"none":null}}'`,
  );
});

const run = { flow: "order sync", input: { who: "it's", ok: true, none: null, count: 2 }, labels: { team: "core" }, workspace: "shop" };

test("a program in Python has the words of Python", () => {
  expect(python(run, "http://h")).toContain('client = Client("http://h", os.environ["FLOWRUNNER_TOKEN"], workspace="shop")');
  expect(python(run, "http://h")).toContain('client.run("order sync", {"who": "it\'s", "ok": True, "none": None, "count": 2}, labels={"team": "core"}).wait()');
});

test("a command of the command line quotes what was typed", () => {
  expect(cli(run, "http://h")).toBe("flowrunner run 'order sync' -i 'who=it'\\''s' -i ok=true -i none=null -i count=2 --label team=core --workspace shop --url http://h --wait");
});

test("a request to a webhook needs no token", () => {
  expect(hookCurl("http://h/hooks/a'b")).toBe(`curl -X POST 'http://h/hooks/a'\\''b' -H 'Content-Type: application/json' -d '{}'`);
});
