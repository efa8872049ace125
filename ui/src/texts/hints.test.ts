import { expect, test } from "vitest";
import { hintOfMissing } from "./hints";

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
