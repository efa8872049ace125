import { afterEach, expect, test, vi } from "vitest";
import { api, onExpired } from "./client";

afterEach(() => {
  vi.unstubAllGlobals();
  onExpired({ again: () => Promise.reject(new Error("nobody logs in")), pending: () => undefined });
});

/** Answer requests one after the other; return when each was sent. */
function server(...answers: Response[]): string[] {
  const sent: string[] = [];
  vi.stubGlobal("fetch", (url: string) => {
    sent.push(url);
    return Promise.resolve(answers.shift() ?? Response.json({}));
  });
  return sent;
}

test("nothing is sent while a login is asked for, which may be that of another account", async () => {
  const sent = server();
  let logIn = () => {};
  const login = new Promise<void>((resolve) => (logIn = resolve));
  onExpired({ again: () => login, pending: () => login });

  const asked = api.get("/api/v1/flows");
  await new Promise((done) => setTimeout(done, 5));
  expect(sent).toEqual([]);
  logIn();
  await asked;
  expect(sent).toEqual(["/api/v1/flows"]);
});

test("a request whose session has ended is sent once more after the login", async () => {
  const sent = server(new Response(null, { status: 401 }), Response.json({ total: 1 }));
  const again = vi.fn(() => Promise.resolve());
  onExpired({ again, pending: () => undefined });

  expect(await api.get("/api/v1/flows")).toEqual({ total: 1 });
  expect(sent.length).toBe(2);
  expect(again).toHaveBeenCalledTimes(1);
});
