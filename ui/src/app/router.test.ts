import { describe, expect, it } from "vitest";
import { match, segmentOf, within, withQuery } from "./router";
import { addressOf } from "../api/client";

describe("the router", () => {
  it("finds the parameters of a path", () => {
    expect(match("/w/:slug/flows/:id", "/w/data/flows/flow-1")).toEqual({ slug: "data", id: "flow-1" });
    expect(match("/w/:slug", "/w/a%20b/")).toEqual({ slug: "a b" });
    expect(match("/w/:slug/flows", "/w/data/flows/flow-1")).toBeUndefined();
  });

  it("takes a segment that is no valid encoding as it is", () => {
    expect(match("/w/:slug/flows", "/w/%/flows")).toEqual({ slug: "%" });
  });

  it("names a personal workspace by the end of its id", () => {
    const id = "account-01m8g06v1rsy9txx9tmt3bd8a46ekk1ab1wk";
    expect(segmentOf({ id, slug: id })).toBe("~kk1ab1wk");
    expect(segmentOf({ id: "workspace-01m8g06v1rsy9txx9tmt3bd8a46ekk1ab1wk", slug: "orders" })).toBe("orders");
  });

  it("leaves empty values out of addresses", () => {
    expect(withQuery("/x", { status: "failed", flow: "", page: undefined })).toBe("/x?status=failed");
  });
});

describe("the screen after a login", () => {
  const next = (address: string | null) => within("https://flows.example", address);

  it("is the one that was asked for", () => {
    expect(next("/w/data/executions?status=failed")).toBe("/w/data/executions?status=failed");
    expect(next("/.//elsewhere.example/w")).toBe("/elsewhere.example/w");
  });

  it.each([null, "//elsewhere.example/w", "https://elsewhere.example", "javascript:alert(1)", "\\\\elsewhere.example", "https://", "/\\elsewhere.example"])("is the first one for %s", (address) => {
    expect(next(address)).toBe("/");
  });
});

describe("the addresses of requests", () => {
  it("have encoded parameters", () => {
    expect(addressOf("/api/v1/flows/by-name/{name}", { name: "a/b?" }, { limit: 5, after: null })).toBe("/api/v1/flows/by-name/a%2Fb%3F?limit=5");
  });
});
