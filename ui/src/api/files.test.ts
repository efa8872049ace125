import { afterEach, expect, test, vi } from "vitest";
import { fileOf } from "./files";

afterEach(() => vi.unstubAllGlobals());

function answers(body: ReadableStream | string): void {
  vi.stubGlobal("fetch", () => Promise.resolve(new Response(body, { status: 200 })));
}

test("a file is what the operation answers", async () => {
  answers("a,b");
  expect(await (await fileOf("/api/v1/flows/export", "application/zip")).text()).toBe("a,b");
});

test("a connection that ends within a file is told as such", async () => {
  answers(new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(10));
      controller.error(new TypeError("network error"));
    },
  }));
  await expect(fileOf("/api/v1/flows/export", "application/zip")).rejects.toMatchObject({ code: "unreachable", message: "The file has not arrived whole" });
});
