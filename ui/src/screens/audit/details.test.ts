import { expect, it } from "vitest";
import { detailsOf, objectOf, placeOf, programOf } from "./details";

it.each([
  [{ kind: "execution", id: "exec-01m8abcdefgh68p" }, "exec-01m8…68p"],
  [{ kind: "session", id: "session:5fe3e31e73600273" }, "session:5fe3…273"],
  [{ kind: "secret", id: "WAREHOUSE_KEY" }, "secret WAREHOUSE_KEY"],
  [{ kind: "installation", id: "" }, "installation"],
])("names an object once: %o", (object, text) => {
  expect(objectOf(object)).toBe(text);
});

it.each([
  [{}, ""],
  [{ scopes: ["read", "run"], has_end: false }, "scopes: read, run · has end: no"],
  [{ flow_id: "flow-01m8abcdefgh5z5", reason: null, fields: [], most: 3 }, "flow id: flow-01m8…5z5 · reason: none · fields: none · most: 3"],
  [{ range: { from: 1 } }, 'range: {"from":1}'],
])("writes details in words: %o", (details, text) => {
  expect(detailsOf(details)).toBe(text);
});

it.each([
  ["execution.started", { kind: "execution", id: "exec-1" }, "/executions/exec-1"],
  ["callback.created", { kind: "callback", id: "callback-1" }, "/callbacks?callback=callback-1"],
  ["flow.deleted", { kind: "flow", id: "flow-1" }, undefined],
  ["secret.created", { kind: "secret", id: "KEY" }, "/secrets"],
  ["config.replaced", { kind: "config", id: "LIMIT" }, "/config"],
  ["job.created", { kind: "job", id: "job-1" }, "/executions?job=job-1"],
  ["token.revoked", { kind: "token", id: "token-1" }, undefined],
  ["workspace.created", { kind: "workspace", id: "shared-1" }, undefined],
])("leads from an entry to its object: %s of %o", (action, object, path) => {
  expect(placeOf({ action, object })).toBe(path);
});

it.each([
  ["job:job-1", { kind: "job", place: "/executions?job=job-1" }],
  ["token:token-1", { kind: "token", place: "/workspace?tab=tokens" }],
  ["session:5fe3e31e73600273", undefined],
  ["server", undefined],
])("leads from an entry to the program that has acted: %s", (credential, program) => {
  expect(programOf(credential)).toEqual(program);
});
