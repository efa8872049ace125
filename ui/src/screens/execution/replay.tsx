/** The time slider, loaded when it is opened: the graph, the log and the data of an execution as they were after each event. */
import { batch, useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { api } from "../../api/client";
import { withPerson } from "../../app/people";
import { linkKey } from "../../graph/model";
import { GraphStates } from "../../graph/states";
import { courseOf, kindsAfter } from "../../execution/course";
import { readable } from "../../execution/names";
import { momentAfter } from "../../execution/replay";
import type { Place, SubFlows } from "../../execution/subflows";
import type { EventMessage } from "../../execution/stream";
import { causeFirst } from "../../parts/causes";
import { clockOf } from "../../parts/format";
import { Json } from "../../parts/json";
import { failed } from "../../parts/toast";
import { common } from "../../texts/common";
import { executions as texts } from "../../texts/executions";
import { replay as words } from "../../texts/replay";
import { step as ofStep } from "../../texts/step";
import { timeline as ofTimeline } from "../../texts/timeline";

/** Longer executions are shown from their beginning up to here. */
const MOST_EVENTS = 5000;
const PAGE = 500;
const STEP_MILLISECONDS = 120;

/** An event of the execution, or of a sub-flow that is open in it. */
interface Placed extends EventMessage {
  /** What is before the nodes of its execution in the picture. */
  prefix: string;
}

interface Loaded {
  events: Placed[];
  /** An execution has more events than are loaded. */
  isCut: boolean;
}

export interface Replayed extends Loaded {
  /** How many events have happened. */
  at: number;
}

/** What the time slider shows to its neighbours; undefined before its events are there. */
export interface Replay {
  readonly replayed: Signal<Replayed | undefined>;
  readonly states: Signal<GraphStates | undefined>;
}

async function load({ store: { id }, prefix }: Place): Promise<Loaded> {
  const events: Placed[] = [];
  let after = "0";
  for (;;) {
    const page = await api.get("/api/v1/executions/{id}/events", { path: { id }, query: { after, limit: PAGE } });
    events.push(...(page.events as unknown as EventMessage[]).map((event) => ({ ...event, prefix })));
    if (page.events.length === 0 || page.has_ended) return { events, isCut: false };
    if (events.length >= MOST_EVENTS) return { events, isCut: true };
    after = String(page.after);
  }
}

/** Return the events of several executions in the order in which they happened; those of one stay in theirs. */
async function loadAll(places: readonly Place[]): Promise<Loaded> {
  const loaded = await Promise.all(places.map(load));
  const events = loaded.flatMap((each) => each.events).sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp));
  return { events, isCut: loaded.some(({ isCut }) => isCut) };
}

/** Keep the states of the graph, with its open sub-flows, as they were at the chosen moment. */
function useStates(subs: SubFlows, { replayed, states: { value: states } }: Replay): void {
  const now = replayed.value;
  const places = subs.places;
  const opened = places.map(({ prefix, store }) => (store.graph.value === undefined ? "" : prefix)).join("\n");
  useEffect(() => {
    if (states === undefined || now === undefined) return;
    for (const { store, prefix } of places) {
      const graph = store.graph.peek();
      if (graph === undefined) continue;
      const moment = momentAfter(now.events.slice(0, now.at).filter((event) => event.prefix === prefix), now.at, graph.edges);
      for (const { id } of graph.nodes) states.setNode(prefix + id, { status: moment.nodes.get(id) ?? moment.others });
      for (const { source, target } of graph.edges) states.setLink(prefix + source, prefix + target, moment.links.has(linkKey(source, target)));
    }
  }, [states, now?.at, now?.events, opened]);
  useEffect(() => {
    // A sub-flow that is opened meanwhile brings its events; the moment stays.
    const before = replayed.peek();
    if (before === undefined || places.every(({ prefix }) => before.events.some((event) => event.prefix === prefix))) return;
    const last = before.events[before.at - 1];
    loadAll(places).then(({ events, isCut }) => {
      const at = last === undefined ? 0 : events.findIndex(({ seq, prefix }) => seq === last.seq && prefix === last.prefix) + 1;
      if (replayed.peek() !== undefined) replayed.value = { events, isCut, at };
    }, failed);
  }, [places.length]);
}

export function Scrubber({ subs, replay, onEnd }: { subs: SubFlows; replay: Replay; onEnd: () => void }) {
  const { replayed } = replay;
  const isPlaying = useSignal(false);
  const slider = useRef<HTMLInputElement>(null);
  const now = replayed.value;
  useStates(subs, replay);
  const kinds = useMemo(() => kindsAfter(now?.events ?? [], (event) => (event as Placed).prefix), [now?.events]);
  useEffect(() => {
    loadAll(subs.places).then(({ events, isCut }) => {
      batch(() => {
        replay.states.value = new GraphStates();
        replayed.value = { events, isCut, at: 0 };
      });
      isPlaying.value = true;
    }, (error: unknown) => {
      failed(error);
      onEnd();
    });
    return () => {
      batch(() => (replay.states.value = replayed.value = undefined));
    };
  }, []);
  // The button that had the focus is gone, and the slider has just come.
  useEffect(() => slider.current?.focus(), [now === undefined]);
  useEffect(() => {
    if (!isPlaying.value) return;
    const timer = setInterval(() => {
      // On a busy page the timer may be overdue when somebody chooses a moment, and comes before it is cleared.
      if (!isPlaying.peek()) return;
      const current = replayed.peek();
      if (current === undefined || current.at >= current.events.length) isPlaying.value = false;
      else replayed.value = { ...current, at: current.at + Math.max(1, Math.round(current.events.length / 100)) };
    }, STEP_MILLISECONDS);
    return () => clearInterval(timer);
  }, [isPlaying.value]);
  if (now === undefined) return <div class="scrub" aria-busy="true"><span class="muted small">{common.loading}</span></div>;
  const at = Math.min(now.at, now.events.length);
  const event = now.events[Math.max(0, at - 1)];
  const kind = at === 0 || at === kinds.length ? undefined : ofTimeline.kinds[kinds[at - 1] ?? ""];
  const place = words.eventOf(at, now.events.length);
  return (
    <div class="scrub">
      <button class="btn quiet" onClick={() => { if (at >= now.events.length) replayed.value = { ...now, at: 0 }; isPlaying.value = !isPlaying.value; }}>{isPlaying.value ? words.pauseReplay : words.play}</button>
      <span class="mono">{event === undefined ? "" : clockOf(event.timestamp)}</span>
      <span class="course">
        <span aria-hidden="true">{courseOf(kinds).map((piece) => <i key={piece.from} class={`b-${piece.kind}`} title={ofTimeline.kinds[piece.kind]} style={{ left: `${(piece.from / kinds.length) * 100}%`, width: `${((piece.to - piece.from) / kinds.length) * 100}%` }} />)}</span>
        <input ref={slider} type="range" aria-label={words.slider} aria-valuetext={event === undefined ? undefined : [clockOf(event.timestamp), place, kind].filter(Boolean).join(", ")} min={0} max={now.events.length} value={at} onInput={(input) => { isPlaying.value = false; replayed.value = { ...now, at: Number(input.currentTarget.value) }; }} />
      </span>
      <span class="muted small scrub-place">{place}{kind !== undefined && ` · ${kind}`}{now.isCut && <b class="wait"> · {words.moreEvents(now.events.length)}</b>}</span>
      <button class="btn quiet" onClick={onEnd}>{words.endReplay}</button>
    </div>
  );
}

function saidIn({ message = "" }: { message?: string }): string {
  return causeFirst(withPerson(message));
}

/** What is beside the graph during a replay: the event, its data, and the log up to it. */
export function ReplayPanel({ subs, replayed }: { subs: SubFlows; replayed: Replayed }) {
  const event = replayed.events[Math.min(replayed.at, replayed.events.length) - 1];
  const { lines } = momentAfter(replayed.events, replayed.at, []);
  const turns = subs.places.find(({ prefix }) => prefix === event?.prefix)?.store.turns.value;
  const result = (event as { result?: unknown } | undefined)?.result;
  return (
    <aside class="drawer" aria-label={texts.replay}>
      {event === undefined ? <p class="muted">{words.notBegun}</p> : (
        <div class="stack tight">
          <h2 class="cut" title={event.step}>{event.step === undefined ? event.node_id ?? texts.title : readable(event.step, turns)}</h2>
          <p class="muted small">{words.events[event.type] ?? event.type}{event.action !== undefined && event.action !== "default" && ` (${event.action})`}</p>
          {event.error !== undefined && <div class="alert"><b>{causeFirst(event.error)}</b></div>}
          {event.type === "log" && <p>{saidIn(event)}</p>}
          {result !== undefined && <Json label={texts.result} value={result} />}
        </div>
      )}
      {lines.length > 0 && (
        <section class="stack tight">
          <h3>{ofStep.lastLines}</h3>
          <ul class="log-tail">
            {lines.map((line) => <li key={line.seq}><span class="muted">{clockOf(line.timestamp)}</span><span class={`l-${line.level}`}>{line.level}</span><span>{saidIn(line)}</span></li>)}
          </ul>
        </section>
      )}
    </aside>
  );
}
