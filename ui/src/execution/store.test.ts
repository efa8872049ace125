import { afterEach, describe, expect, it, vi } from "vitest";
import { api, ApiError } from "../api/client";
import { GraphStates } from "../graph/states";
import { ExecutionStore, hasFailedElements, stateAfter, type Step } from "./store";

const DETAIL = { id: "exec-1", status: "completed" };
const GRAPH = { nodes: [], edges: [] };
const STEPS: Record<string, unknown[]> = { "": [{ id: 2, scope: "" }], "each.1[0]": [{ id: 5, scope: "each.1[0]" }] };

/** Own steps of an execution that goes round by its edges, with the last one, which is beyond those that are listed. */
const LONG = Array.from({ length: 2600 }, (_, i) => ({ id: i + 1, step: `poll.${i + 1}` }));

/** Answer requests from these values; return the paths that were asked for, and a way to let the next steps fail. */
function server(graph: object = GRAPH): { asked: string[]; fail: () => void } {
  const asked: string[] = [];
  let isFailing = false;
  vi.spyOn(api, "get").mockImplementation((async (path: string, { query }: { query?: { scope?: string } }) => {
    asked.push(path);
    if (path.endsWith("/graph")) return graph;
    if (!path.endsWith("/steps")) return DETAIL;
    if (isFailing) {
      isFailing = false;
      throw new ApiError(503, "unavailable", "Try again");
    }
    return { steps: STEPS[query?.scope ?? ""] };
  }) as typeof api.get);
  return { asked, fail: () => (isFailing = true) };
}

async function loaded(states = new GraphStates(() => undefined)): Promise<ExecutionStore> {
  const store = new ExecutionStore("exec-1", states);
  await vi.waitFor(() => expect(store.version.value).toBe(1));
  return store;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("an execution that is shown", () => {
  it("asks again for the steps of a round that could not be read", async () => {
    const { fail } = server();
    const store = await loaded();
    fail();
    await expect(store.scope("each.1[0]")).rejects.toThrow("Try again");

    expect(await store.scope("each.1[0]")).toEqual(STEPS["each.1[0]"]);
    expect(store.steps.value.map(({ id }) => id)).toEqual([2, 5]);
  });

  it("is loaded once more after a load during which something has happened", async () => {
    server();
    const store = await loaded();
    void store.load();
    void store.load();
    void store.load();

    await vi.waitFor(() => expect(store.version.value).toBe(3));
  });

  it("is loaded less often while its events arrive the more steps it has", async () => {
    server();
    const store = await loaded();
    const delays = vi.spyOn(globalThis, "setTimeout");
    const delayWith = (steps: number) => {
      store.steps.value = Array.from({ length: steps }, (_, id) => ({ id }) as Step);
      store["timer"] = undefined;
      store["apply"]([{ type: "log", seq: 1, timestamp: "2026-11-29T03:14:21.000Z", step: "fetch.1" }]);
      clearTimeout(store["timer"]);
      return delays.mock.lastCall?.[1];
    };

    expect(delayWith(10)).toBe(700);
    expect(delayWith(2000)).toBe(3500);
    store.close();
  });

  it("asks for nothing more once it is closed", async () => {
    const { asked } = server();
    const store = await loaded();
    const under = store.load();
    void store.load();
    store.close();
    asked.length = 0;
    await under;
    await new Promise((done) => setTimeout(done, 10));

    expect(asked).toEqual([]);
  });

  it("keeps what was loaded of a node while its earlier events come", async () => {
    const at = (second: number) => `2026-11-29T03:14:2${second}.000Z`;
    server({ nodes: [{ id: "fetch", status: "completed", runs: { completed: 1 }, started_at: at(1), completed_at: at(3) }], edges: [] });
    const states = new GraphStates((flush) => flush());
    const store = await loaded(states);
    const known = states.node("fetch").value;
    store["apply"]([
      { type: "execution_update", seq: 1, timestamp: at(1), step: "fetch.1", attempt: 1 },
      { type: "node_completed", seq: 2, timestamp: at(3), step: "fetch.1" },
    ]);
    expect(known).toEqual({ status: "completed", time: "2.0 s" });
    expect(states.node("fetch").value).toEqual(known);

    store["apply"]([{ type: "execution_update", seq: 3, timestamp: at(4), step: "fetch.2", attempt: 1 }]);
    expect(states.node("fetch").value).toEqual({ status: "running" });
    store.close();
  });
});

describe("an execution of many steps", () => {
  /** Answer as the server does, in pages. */
  function long(): void {
    vi.spyOn(api, "get").mockImplementation((async (path: string, { query }: { query?: { step?: string; cursor?: string; limit: number } }) => {
      if (path.endsWith("/graph")) return GRAPH;
      if (!path.endsWith("/steps")) return DETAIL;
      const found = LONG.filter(({ id, step }) => id > Number(query?.cursor ?? 0) && (query?.step ?? step) === step);
      const steps = found.slice(0, query!.limit);
      return { steps, next_cursor: found.length > steps.length ? `${steps.at(-1)!.id}` : undefined };
    }) as typeof api.get);
  }

  it("lists those of all pages, and says that there are more", async () => {
    long();
    const store = await loaded();

    expect([store.steps.value.length, store.isCut.value]).toEqual([2000, true]);
  });

  it("has a step that is not listed once it is asked for, also after the next load", async () => {
    long();
    const store = await loaded();
    await store.find("poll.2600");
    await store.load();

    expect(store.steps.value.at(-1)?.step).toBe("poll.2600");
  });
});

describe("what was asked for beyond the steps that are listed", () => {
  it("is asked for again if it was found, and only the last of it", async () => {
    const asked: string[] = [];
    vi.spyOn(api, "get").mockImplementation((async (path: string, { query }: { query?: { step?: string } }) => {
      if (path.endsWith("/graph")) return GRAPH;
      if (!path.endsWith("/steps")) return DETAIL;
      if (query?.step !== undefined) asked.push(query.step);
      const step = query?.step ?? "poll.1";
      return { steps: step.startsWith("poll") ? [{ id: Number(step.slice(5)), step }] : [] };
    }) as typeof api.get);
    const store = await loaded();
    await store.find("gone.1");
    for (let run = 1; run <= 25; run++) await store.find(`poll.${run}`);
    asked.length = 0;
    await store.load();

    expect(asked).toEqual(Array.from({ length: 20 }, (_, i) => `poll.${i + 6}`));
  });
});

describe("the state of a node after an event", () => {
  it("keeps the sums and the failure of a loop's rounds", () => {
    const before = { status: "failed", detail: "3 of 40 failed" } as const;
    expect(stateAfter(before, "completed", true)).toBe(before);
    expect(stateAfter({ status: "completed", detail: "4 runs" }, "running", true)).toEqual({ status: "running", detail: "4 runs" });
  });

  it("is the new one for a node that runs again", () => {
    expect(stateAfter({ status: "failed", time: "2 s" }, "running", false)).toEqual({ status: "running", detail: undefined });
  });

  it("follows from a state that is not shown yet", () => {
    const frames: (() => void)[] = [];
    const states = new GraphStates((flush) => frames.push(flush));
    states.setNode("each/push", { status: "failed", detail: "1 of 2 failed" });
    states.change("each/push", (before) => stateAfter(before, "completed", true));
    frames[0]!();
    expect(states.node("each/push").value).toEqual({ status: "failed", detail: "1 of 2 failed" });
  });
});

describe("failed elements that can run again by themselves", () => {
  const scopes = { total: 3, completed: 2, failed: 1 };
  it.each([
    ["foreach", "failed", scopes, true],
    ["foreach", "completed", scopes, true],
    ["foreach", "failed", { ...scopes, failed: 0 }, false],
    ["agent", "failed", scopes, true],
    // The model has been told of their errors.
    ["agent", "completed", scopes, false],
    ["while", "failed", scopes, false],
    ["transform", "failed", undefined, false],
  ])("has a step of type %s that is %s, with %j: %s", (node_type, status, scopes, expected) => {
    expect(hasFailedElements({ node_type, status, scopes } as Step)).toBe(expected);
  });
});
