import { expect, test } from "vitest";
import { login } from "./login";

test("a fault of an address that nobody knows is said as an invalid answer", () => {
  expect(["toString", "constructor", "__proto__", "", "refused"].map(login.signOnFault)).toEqual([...Array(4).fill(login.signOnFault("invalid")), "The provider did not log you in. Try again, or ask an admin."]);
});
