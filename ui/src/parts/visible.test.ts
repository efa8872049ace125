import { describe, expect, it } from "vitest";
import { visible } from "./visible";

describe("text that is shown", () => {
  it("names the controls of its direction", () => {
    expect(visible("Pay \u202e001\u202c to \u2066Ada\u2069")).toBe("Pay [U+202E]001[U+202C] to [U+2066]Ada[U+2069]");
  });

  it("leaves scripts from right to left as they are", () => {
    expect(visible("שלום 12")).toBe("שלום 12");
  });
});
