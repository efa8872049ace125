/** The graph of the revision that runs, with the states of its nodes. */
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { location } from "../../app/router";
import { pathOf } from "../../execution/names";
import { isIn, roundAround, roundsOf, RoundStates, type Chosen } from "../../execution/rounds";
import type { Detail, ExecutionStore } from "../../execution/store";
import { onlyRun, SubFlows } from "../../execution/subflows";
import type { GraphStates } from "../../graph/states";
import { GraphView } from "../../graph/view";
import { later } from "../../parts/later";
import { Empty, Failure } from "../../parts/parts";
import { executions as texts } from "../../texts/executions";
import { choose, chosenStep } from "./choice";
import { Drawer } from "./drawer";
import type { Replay, Replayed } from "./replay";

const Scrubber = later<{ subs: SubFlows; replay: Replay; onEnd: () => void }>(() => import("./replay").then((module) => module.Scrubber));
const ReplayPanel = later<{ subs: SubFlows; replayed: Replayed }>(() => import("./replay").then((module) => module.ReplayPanel));

export function GraphTab({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const subs = useMemo(() => new SubFlows(store), [store]);
  useEffect(() => () => subs.close(), [subs]);
  const { query } = location.value;
  const inside = query.get("in");
  const place = subs.placeIn(inside) ?? { store, prefix: "" };
  const shown = place.store.detail.value;
  const step = shown && chosenStep(place.store);
  // By itself an execution is opened with all rounds.
  const rounds = query.has("step") && step !== undefined ? roundsOf(step.step, place.store.turns.value) : [];
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
  const isFollowing = useSignal(true);
  useEffect(() => {
    if (query.has("step") || query.has("node")) isFollowing.value = false;
  }, [query]);
  const graph = subs.graph.value;
  function select(id: string): void {
    const { store: owner, prefix } = subs.placeOf(id);
    const local = id.slice(prefix.length);
    // Within the chosen round of a loop, another node of it is shown in the same round.
    const round = owner === place.store ? roundAround(rounds, local) : undefined;
    const run = round === undefined ? onlyRun(owner.steps.peek(), local) : owner.steps.peek().filter(({ step: name }) => isIn(round, name) && pathOf(name) === local).at(-1);
    choose({ in: owner === store ? undefined : owner.id, ...(run === undefined ? { node: local } : { step: run.step }) });
  }
  const chosen = useSignal<Chosen | undefined>(undefined);
  const states = useMemo(() => new RoundStates(store.states, chosen), [store]);
  const edges = place.store.graph.value?.edges;
  useEffect(() => {
    chosen.value = rounds.length === 0 || edges === undefined ? undefined : { rounds, prefix: place.prefix, steps: place.store.steps.value, edges, isLive: place.store.isLive.value };
  }, [rounds.at(-1)?.scope, place.prefix, place.store.steps.value, edges]);
  const isReplaying = useSignal(false);
  const replay: Replay = { replayed: useSignal<Replayed | undefined>(undefined), states: useSignal<GraphStates | undefined>(undefined) };
  const [replayed, past] = [replay.replayed.value, replay.states.value];
  return (
    <div class="split">
      {subs.places.map(({ prefix, store: { error, load } }) => prefix !== "" && error.value && <Failure key={prefix} error={error.value} retry={load} isAbove />)}
      {graph === undefined ? <Empty title={texts.noGraph}><p>{texts.noGraphHint}</p></Empty> : (
        <div class="graph-and-time">
          <GraphView graph={graph} selected={selected} onSelect={select} states={past ?? states} latest={store.states.latest} isFollowing={store.isLive.value ? isFollowing : undefined} openable={subs.closed.value} onOpen={(id) => subs.show(id)} />
          {isReplaying.value && <Scrubber subs={subs} replay={replay} onEnd={() => (isReplaying.value = false)} />}
          {!store.isLive.value && !isReplaying.value && <div class="scrub"><button class="btn quiet" onClick={() => (isReplaying.value = true)}>▶ {texts.replay}</button></div>}
        </div>
      )}
      {replayed === undefined ? <Drawer store={place.store} detail={shown ?? detail} step={step} /> : <ReplayPanel subs={subs} replayed={replayed} />}
    </div>
  );
}
