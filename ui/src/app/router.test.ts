import { describe, expect, it } from "vitest";
import { match, withQuery } from "./router";
import { addressOf } from "../api/client";

describe("the router", () => {
  it("finds the parameters of a path", () => {
    expect(match("/w/:slug/flows/:id", "/w/data/flows/flow-1")).toEqual({ slug: "data", id: "flow-1" });
    expect(match("/w/:slug", "/w/a%20b/")).toEqual({ slug: "a b" });
    expect(match("/w/:slug/flows", "/w/data/flows/flow-1")).toBeUndefined();
  });

  it("leaves empty values out of addresses", () => {
    expect(withQuery("/x", { status: "failed", flow: "", page: undefined })).toBe("/x?status=failed");
  });
});

describe("the addresses of requests", () => {
  it("have encoded parameters", () => {
    expect(addressOf("/api/v1/flows/by-name/{name}", { name: "a/b?" }, { limit: 5, after: null })).toBe("/api/v1/flows/by-name/a%2Fb%3F?limit=5");
  });
});
