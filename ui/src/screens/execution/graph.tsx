/** The graph of the revision that runs, with the states of its nodes. */
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { location } from "../../app/router";
import { pathOf } from "../../execution/names";
import type { Detail, ExecutionStore } from "../../execution/store";
import { GraphView } from "../../graph/view";
import { Empty } from "../../parts/parts";
import { executions as texts } from "../../texts/executions";
import { choose, chosenStep } from "../execution";
import { ReplayPanel, Scrubber, useReplay, type Replayed } from "./replay";
import { Drawer } from "./step";

export function GraphTab({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const answered = store.graph.value;
  const steps = store.steps.value;
  const step = chosenStep(store, detail, steps);
  const node = location.value.query.get("node") ?? (step === undefined ? undefined : pathOf(step.step));
  const selected = useMemo(() => signal<string | undefined>(node), []);
  useEffect(() => {
    if (node !== undefined) selected.value = node;
  }, [node]);
  const graph = useMemo(
    () => answered && {
      nodes: answered.nodes.map((each) => ({ id: each.id, label: each.node_id, type: each.node_type, parent: each.parent ?? null, branch: each.branch ?? null, isStart: each.is_start })),
      edges: answered.edges,
    },
    [answered],
  );
  function select(id: string): void {
    const runs = store.steps.peek().filter((each) => pathOf(each.step) === id);
    const failed = runs.filter(({ status }) => status === "failed");
    const only = runs.length === 1 ? runs[0] : failed.length === 1 ? failed[0] : undefined;
    choose(only === undefined ? { node: id } : { step: only.step });
  }
  const replayed = useSignal<Replayed | undefined>(undefined);
  const past = useReplay(store, replayed.value);
  return (
    <div class="split">
      {graph === undefined ? <Empty title={texts.noGraph}><p>{texts.noGraphHint}</p></Empty> : (
        <div class="graph-and-time">
          <GraphView key={past === undefined ? "now" : "past"} graph={graph} selected={selected} onSelect={select} states={past ?? store.states} />
          {!store.isLive.value && <Scrubber store={store} replayed={replayed} />}
        </div>
      )}
      {replayed.value === undefined ? <Drawer store={store} detail={detail} step={step} /> : <ReplayPanel replayed={replayed.value} />}
    </div>
  );
}
