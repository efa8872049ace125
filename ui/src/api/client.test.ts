import { afterEach, expect, test, vi } from "vitest";
import { present, setClock } from "../parts/format";
import { api, etagOf, onExpired } from "./client";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  setClock(new Date().toUTCString());
  onExpired({ again: () => Promise.reject(new Error("nobody logs in")), pending: () => undefined, count: () => 0 });
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
  onExpired({ again: () => login, pending: () => login, count: () => 0 });

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
  onExpired({ again, pending: () => undefined, count: () => 0 });

  expect(await api.get("/api/v1/flows")).toEqual({ total: 1 });
  expect(sent.length).toBe(2);
  expect(again).toHaveBeenCalledTimes(1);
});

test.each([[[401, 200], 0], [[401, 401, 200], 1]])("a request of before a login whose answer comes after it asks for no other one: %j", async (statuses, asked) => {
  let logins = 0;
  const again = vi.fn(() => Promise.resolve());
  const sent = server(...statuses.map((status) => (status === 200 ? Response.json({ total: 1 }) : new Response(null, { status }))));
  onExpired({ again, pending: () => undefined, count: () => logins });

  const answer = api.get("/api/v1/flows");
  while (sent.length === 0) await Promise.resolve();
  logins = 1;

  expect(await answer).toEqual({ total: 1 });
  expect(sent.length).toBe(statuses.length);
  expect(again).toHaveBeenCalledTimes(asked);
});

test("an answer that came before the scripts sets the clock, by the moment at which it came", async () => {
  vi.spyOn(performance, "now").mockReturnValue(0);
  const [hour, at] = [3_600_000, Date.now() - 9000];
  const early = Object.assign(Response.json({ total: 2 }, { headers: { Date: new Date(at + hour).toUTCString() } }), { at });
  vi.stubGlobal("early", new Map([[" /api/v1/flows", Promise.resolve(early)]]));
  const sent = server();

  expect(await api.get("/api/v1/flows")).toEqual({ total: 2 });
  expect(sent).toEqual([]);
  expect(Math.abs(present() - Date.now() - hour)).toBeLessThan(2000);
});

test.each([
  ['"1.1"', '"1.1"'],
  ['W/"1.1"', '"1.1"'],
  ['"1.1-gzip"', '"1.1"'],
  ['W/"1.1-br"', '"1.1"'],
  [undefined, ""],
])("the ETag %s of an answer that a proxy may have compressed is %s of the server", (received, own) => {
  expect(etagOf(new Headers(received === undefined ? {} : { ETag: received }))).toBe(own);
});

test.each([
  ["This request comes from a page of another origin", "open the page at the address that public_url names", "open the page at the address that public_url names"],
  ["This needs the role editor", "use an account, or an API token, with the right that x-right names in /api/v1/openapi.json", "ask an admin of the workspace for a role that may do this"],
])("after the refusal %j a reader is told what helps", async (message, hint, told) => {
  server(Response.json({ error: { code: "forbidden", message, hint, details: {}, request_id: "r" } }, { status: 403 }));

  await expect(api.get("/api/v1/flows")).rejects.toMatchObject({ message, hint: told });
});
