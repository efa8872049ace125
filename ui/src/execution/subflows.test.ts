import { afterEach, expect, it, vi } from "vitest";
import { api } from "../api/client";
import { GraphStates } from "../graph/states";
import { ExecutionStore } from "./store";
import { SubFlows } from "./subflows";

const AT = "2026-11-30T05:00:00.000Z";
const GRAPHS: Record<string, object[]> = {
  "exec-1": [{ id: "call", node_id: "call", node_type: "flow", runs: {} }],
  "exec-2": [{ id: "pay", node_id: "pay", node_type: "log", runs: {} }],
};
const CALL = { id: 2, step: "call.1", scope: "", status: "waiting", wait: { waiting_for: { type: "flow", execution_id: "exec-2" } } };

async function loaded(store: ExecutionStore): Promise<ExecutionStore> {
  await vi.waitFor(() => expect(store.version.value).toBe(1));
  return store;
}

/** Have a step begin in an execution. */
function begin(store: ExecutionStore, step: string): void {
  store["apply"]([{ type: "execution_update", seq: 1, timestamp: AT, step, attempt: 1 }]);
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

it("follows what runs in a sub-flow that is open, by its place in the whole picture", async () => {
  vi.stubGlobal("requestAnimationFrame", (flush: () => void) => flush());
  vi.spyOn(api, "get").mockImplementation((async (path: string, { path: named }: { path?: { id?: string } }) => {
    const id = named?.id ?? "";
    if (path.endsWith("/graph")) return { nodes: GRAPHS[id], edges: [] };
    return path.endsWith("/steps") ? { steps: id === "exec-1" ? [CALL] : [] } : { id, status: "completed" };
  }) as typeof api.get);
  const top = await loaded(new ExecutionStore("exec-1", new GraphStates((flush) => flush())));
  const subs = new SubFlows(top);
  begin(top, "call.1");
  expect(top.states.latest.value).toBe("call");
  subs.show("call");
  const inside = await loaded(subs.placeIn("exec-2")!.store);

  begin(inside, "pay.1");

  expect(top.states.latest.value).toBe("call/pay");
  begin(top, "after.1");
  expect(top.states.latest.value).toBe("after");
  // Nothing is loaded after the test.
  for (const store of [top, inside]) store.close();
});
