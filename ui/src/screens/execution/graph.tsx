/** The graph of the revision that runs, with the states of its nodes. */
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { location } from "../../app/router";
import { pathOf } from "../../execution/names";
import type { Detail, ExecutionStore } from "../../execution/store";
import { onlyRun, SubFlows } from "../../execution/subflows";
import { GraphView } from "../../graph/view";
import { Empty } from "../../parts/parts";
import { executions as texts } from "../../texts/executions";
import { choose, chosenStep } from "../execution";
import { ReplayPanel, Scrubber, useReplay, type Replayed } from "./replay";
import { Drawer } from "./step";

export function GraphTab({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const subs = useMemo(() => new SubFlows(store), [store]);
  useEffect(() => () => subs.close(), [subs]);
  const { query } = location.value;
  const inside = query.get("in");
  const place = subs.placeIn(inside) ?? { store, prefix: "" };
  const shown = place.store.detail.value;
  const step = shown && chosenStep(place.store, shown, place.store.steps.value);
  const local = query.get("node") ?? (step === undefined ? undefined : pathOf(step.step));
  const node = local === undefined || (inside !== null && place.store === store) ? undefined : place.prefix + local;
  const selected = useMemo(() => signal<string | undefined>(node), []);
  useEffect(() => {
    if (node !== undefined) selected.value = node;
  }, [node]);
  useEffect(() => {
    // A link to a step of a sub-flow.
    const owner = inside === null ? undefined : [...subs.closed.value].find(([, child]) => child === inside)?.[0];
    if (owner !== undefined) subs.show(owner);
  }, [inside, subs.closed.value]);
  const graph = subs.graph.value;
  function select(id: string): void {
    const { store: owner, prefix } = subs.placeOf(id);
    const run = onlyRun(owner.steps.peek(), id.slice(prefix.length));
    choose({ in: owner === store ? undefined : owner.id, ...(run === undefined ? { node: id.slice(prefix.length) } : { step: run.step }) });
  }
  const replayed = useSignal<Replayed | undefined>(undefined);
  const past = useReplay(store, replayed.value);
  return (
    <div class="split">
      {graph === undefined ? <Empty title={texts.noGraph}><p>{texts.noGraphHint}</p></Empty> : (
        <div class="graph-and-time">
          <GraphView key={past === undefined ? "now" : "past"} graph={graph} selected={selected} onSelect={select} states={past ?? store.states} openable={subs.closed.value} onOpen={(id) => subs.show(id)} />
          {!store.isLive.value && <Scrubber store={store} replayed={replayed} />}
        </div>
      )}
      {replayed.value === undefined ? <Drawer store={place.store} detail={shown ?? detail} step={step} /> : <ReplayPanel replayed={replayed.value} />}
    </div>
  );
}
