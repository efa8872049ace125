import { expect, test } from "vitest";
import { hintOfLimit, hintOfMissing } from "./hints";

test.each([
  ["Execution not found", "it may have been deleted, or belong to another workspace"],
  ["Approval 'ask' not found", "it may have been deleted, or belong to another workspace"],
  ["Account not found", "it may have been deleted"],
  ["No account has this id, or has confirmed this e-mail address", "check it, or invite the person to the workspace"],
  ["The link is not valid: it may have been used, replaced or revoked, or have expired", ""],
  ["There is nothing at this address", ""],
])("after %j a reader is told: %s", (message, hint) => {
  expect(hintOfMissing(message)).toBe(hint);
});

test.each([
  ["More than 60 requests a minute without a valid token come from this address", 42, "wait 42 s, then try again"],
  ["This account makes more than 100 changes an hour: send requests less often", 600, "wait 10 m, then try again"],
  ["More than 60 requests a minute without a valid token come from this address", undefined, "wait a moment, then try again"],
  ["An account invites at most 20 people an hour: wait before the next one", 600, "wait 10 m, then try again"],
  ["Queue limit reached: 9 executions of this workspace are already queued. Try again when some have ended, or cancel some", 5, ""],
])("after %j, with %j s to wait, a reader is told: %s", (message, seconds, hint) => {
  expect(hintOfLimit(message, seconds)).toBe(hint);
});
