import { afterEach, beforeEach, expect, test, vi } from "vitest";

const SAVED = { name: "Failed", query: "status=failed" };
const OTHER = { name: "Mine", query: "mine=1" };

/** What the server keeps. */
let stored: Record<string, unknown>;
let version: number;
/** Answers with these statuses, before any is done. */
let refusals: number[];
/** Changes are answered when this is resolved. */
let held: Promise<void>;

/** Changes the ETags of answers. */
let compress: (etag: string) => string;

const answer = () => Response.json({ preferences: stored }, { headers: { ETag: compress(`"${version}"`) } });

beforeEach(() => {
  [stored, version, refusals, held] = [{ hidden: ["labels"] }, 1, [], Promise.resolve()];
  compress = (etag) => etag;
  vi.resetModules();
  vi.stubGlobal("fetch", async (_: string, { method, headers, body }: { method: string; headers: Record<string, string>; body?: string }) => {
    if (method === "GET") return answer();
    await held;
    const status = refusals.shift() ?? (headers["If-Match"] === `"${version}"` ? undefined : 412);
    if (status !== undefined) return Response.json({ error: { code: "no", message: "No", details: {} } }, { status });
    [stored, version] = [(JSON.parse(body!) as { preferences: Record<string, unknown> }).preferences, version + 1];
    return answer();
  });
});

afterEach(() => vi.unstubAllGlobals());

test("what is preferred is shown at once, and what the server has not kept is shown no more", async () => {
  const { prefer, preferences } = await import("./preferences");
  refusals = [503];
  let release = () => {};
  held = new Promise((resolve) => (release = resolve));

  const under = prefer(() => ({ views: [SAVED] }));
  await vi.waitFor(() => expect(preferences.value).toEqual({ hidden: ["labels"], views: [SAVED] }));
  release();
  await expect(under).rejects.toMatchObject({ status: 503 });

  expect(preferences.value).toEqual({ hidden: ["labels"] });
});

test("what another tab has changed meanwhile is kept", async () => {
  const { loadPreferences, prefer, preferences } = await import("./preferences");
  await loadPreferences();
  [stored, version] = [{ hidden: [], views: [OTHER] }, 2];

  await prefer(({ views = [] }) => ({ views: [...views, SAVED] }));

  expect(stored).toEqual({ hidden: [], views: [OTHER, SAVED] });
  expect(preferences.value).toEqual(stored);
});

test.each([(etag: string) => `W/${etag}`, (etag: string) => etag.replace(/"$/, '-gzip"')])("a proxy that compresses answers prevents no change: %s", async (change) => {
  const { loadPreferences, prefer } = await import("./preferences");
  compress = change;
  await loadPreferences();

  await prefer(() => ({ views: [SAVED] }));

  expect(stored).toEqual({ hidden: ["labels"], views: [SAVED] });
});
