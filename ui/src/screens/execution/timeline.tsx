/** The timeline of an execution: its rows on an axis, with the chosen step beside it. */
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { axisOf, labelled, labelsOf, sinceStart, type Axis } from "../../execution/bars";
import { LISTED, rowsOf, scopesAround, type Attempts, type Row } from "../../execution/rows";
import { MOST_STEPS, type Detail, type ExecutionStore, type Step } from "../../execution/store";
import { duration, moment, now } from "../../parts/format";
import { Icon } from "../../parts/icons";
import { Empty } from "../../parts/parts";
import { statuses } from "../../texts/common";
import { step as ofStep } from "../../texts/step";
import { timeline as ofTimeline } from "../../texts/timeline";
import { choose, chosenStep } from "./choice";
import { Drawer } from "./drawer";

export function TimelineTab({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const steps = store.steps.value;
  const chosen = chosenStep(store);
  const opened = useSignal<ReadonlySet<string>>(new Set(chosen === undefined ? [] : scopesAround(chosen.step)));
  const isFolded = useSignal(true);
  const attempts = useAttempts(store, steps, opened.value);
  const present = store.isLive.value ? now.value : Date.parse(detail.completed_at ?? detail.started_at);
  const from = Date.parse(detail.started_at);
  const rows = rowsOf(steps, opened.value, attempts, present);
  const axis = axisOf(rows.flatMap(({ spans }) => spans), from, Math.max(present, from + 1), isFolded.value);
  const toggle = (key: string) => {
    const next = new Set(opened.value);
    if (!next.delete(key)) next.add(key);
    opened.value = next;
  };
  const kinds = [...new Set(rows.flatMap(({ spans }) => spans.map(({ kind }) => kind)))];
  return (
    <div class="split">
      <div class="lanes">
        {rows.length === 0 && <Empty title={ofTimeline.timelineEmpty} />}
        {rows.length > 0 && <AxisLine axis={axis} from={from} isShort={present - from < 10_000} />}
        <ul>{rows.map((row) => <Lane key={row.key} row={row} axis={axis} isChosen={row.step !== undefined && row.step.id === chosen?.id && !(row.opens !== undefined && row.key === row.opens && opened.value.has(row.opens))} isOpen={row.opens !== undefined && opened.value.has(row.opens)} onToggle={toggle} />)}</ul>
        <div class="legend">
          {kinds.map((kind) => <span key={kind}><i class={`b-${kind}`} />{ofTimeline.kinds[kind]}</span>)}
          <label class="check right"><input type="checkbox" checked={isFolded.value} onChange={(event) => (isFolded.value = event.currentTarget.checked)} />{ofTimeline.fold}</label>
        </div>
        {store.isCut.value && <p class="muted small">{ofStep.moreSteps(MOST_STEPS)}</p>}
      </div>
      <Drawer store={store} detail={detail} step={chosen} />
    </div>
  );
}

/** Pixels that a label takes. */
const LABEL = 68;
/** Pixels of the empty column beside the axis into which its last label may reach. */
const BEYOND = 48;

/** Moments on the clock; within seconds, the time since the start. Only labels that have room are there, so that each can be read by those beside it. */
function AxisLine({ axis, from, isShort }: { axis: Axis; from: number; isShort: boolean }) {
  const track = useRef<HTMLDivElement>(null);
  const width = useSignal(600);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => (width.value = track.current?.clientWidth ?? width.peek()));
    width.value = track.current?.clientWidth || width.peek();
    if (track.current !== null) observer.observe(track.current);
    return () => observer.disconnect();
  }, []);
  const ticks = labelled(axis.ticks, LABEL / Math.max(width.value, 1), BEYOND / Math.max(width.value, 1));
  const times = ticks.map(({ moment: time }) => time);
  const labels = isShort ? sinceStart(times, from, duration) : labelsOf(times, (time) => moment(new Date(time).toISOString(), time), duration);
  return (
    <div class="axis" aria-hidden="true">
      <span />
      <div ref={track}>{ticks.map(({ at }, i) => <span key={at} style={{ left: `${at * 100}%` }}>{labels[i]}</span>)}</div>
      <span />
    </div>
  );
}

interface LaneProps {
  row: Row;
  axis: Axis;
  isChosen: boolean;
  isOpen: boolean;
  onToggle: (key: string) => void;
}

function Lane({ row, axis, isChosen, isOpen, onToggle }: LaneProps) {
  const lane = useRef<HTMLButtonElement>(null);
  // What failed may be far below.
  useEffect(() => void (isChosen && lane.current?.scrollIntoView({ block: "nearest" })), [isChosen]);
  const indent = { paddingLeft: `${row.depth * 16 + 8}px` };
  if (row.rest !== undefined) {
    const { loop, counts } = row.rest;
    return (
      <li class="lane rest">
        <span class="lane-name" style={indent}><b>{row.label}</b><span class="rest-counts">{counts.map(([status, count]) => <button key={status} class="link" onClick={() => choose({ loop: loop.step, of: status })}>{ofTimeline.some(count, statuses[status] ?? status)}</button>)}</span></span>
        <Track row={row} axis={axis} />
        <span class="lane-time">{row.took}</span>
      </li>
    );
  }
  const status = row.step === undefined ? "" : statuses[row.step.status] ?? row.step.status;
  return (
    <li class="lane-row">
      {row.opens !== undefined && (
        <button class="lane-fold" style={{ marginLeft: `${row.depth * 16}px` }} aria-expanded={isOpen} aria-label={ofTimeline.open(row.label)} onClick={() => onToggle(row.opens!)}><Icon name="down" /></button>
      )}
      <button ref={lane} class="lane" aria-current={isChosen ? "true" : undefined} aria-label={[row.label, row.note, status, row.took].filter(Boolean).join(", ")} title={`${row.label} · ${row.note}`} onClick={() => (row.step !== undefined ? choose({ step: row.step.step }) : row.opens && onToggle(row.opens))}>
        <span class="lane-name" style={indent}><b class="cut">{row.label}</b><span class="cut">{row.note}</span></span>
        <Track row={row} axis={axis} />
        <span class="lane-time">{row.took}</span>
      </button>
    </li>
  );
}

/** Pixels of a bar that takes no time, also at the end of the axis. */
const LEAST = 3;

function Track({ row, axis }: { row: Row; axis: Axis }) {
  return (
    <span class="track">
      {axis.ticks.map(({ at }) => <u key={at} style={{ left: `${at * 100}%` }} />)}
      {row.spans.map((span, i) => {
        const left = axis.place(span.from);
        return <i key={i} class={`b-${span.kind}`} style={{ left: `min(${left * 100}%, 100% - ${LEAST}px)`, width: `${Math.max(0, axis.place(span.to) - left) * 100}%` }} />;
      })}
      {axis.folds.map((fold) => <i key={fold.at} class="gap" title={ofTimeline.folded(duration(fold.length))} style={{ left: `${fold.at * 100}%`, width: `${fold.width * 100}%` }} />)}
    </span>
  );
}

/** Attempts are part of each step alone: those of the few steps with several attempts that are seen are loaded. */
function useAttempts(store: ExecutionStore, steps: Step[], opened: ReadonlySet<string>): Attempts {
  const known = useSignal(new Map<number, Schemas["AttemptAnswer"][]>());
  const wanted = steps.filter(({ attempts, scope }) => attempts > 1 && (scope === undefined || opened.has(scope.replace(/\[[^\]]*\]$/, "")))).slice(0, LISTED);
  const key = wanted.map(({ id, attempts, status }) => `${id}:${attempts}${status}`).join();
  useEffect(() => {
    let isLeft = false;
    void Promise.all(wanted.map(({ id }) => api.get("/api/v1/executions/{id}/steps/{step_id}", { path: { id: store.id, step_id: id } }))).then(
      (found) => { if (!isLeft) known.value = new Map(found.map((step) => [step.id, step.each_attempt])); },
      () => {},
    );
    return () => { isLeft = true; };
  }, [key]);
  return known.value;
}
