/** The timeline: a row for each step, the runs of loops and branches under theirs. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { axisOf, labelsOf, spansOf, type Axis, type Span } from "../../execution/bars";
import { nodeOf, runOf } from "../../execution/names";
import { MOST_STEPS, type Detail, type ExecutionStore, type Step } from "../../execution/store";
import { duration, moment, now } from "../../parts/format";
import { Icon } from "../../parts/icons";
import { Empty } from "../../parts/parts";
import { statuses } from "../../texts/common";
import { executions as texts } from "../../texts/executions";
import { choose, chosenStep } from "../execution";
import { Drawer } from "./drawer";

interface Row {
  key: string;
  depth: number;
  label: string;
  note: string;
  /** The step that the row stands for; a run of a loop stands for its worst one. */
  step?: Step;
  spans: Span[];
  took: string;
  /** The key under which it is opened; undefined if there is nothing in it. */
  opens?: string;
}

/** Runs of a loop that are listed one by one; the others are summed up by status. */
const LISTED = 20;

export function TimelineTab({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const steps = store.steps.value;
  const chosen = chosenStep(store, detail, steps);
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
        {rows.length === 0 && <Empty title={texts.timelineEmpty} />}
        {rows.length > 0 && <AxisLine axis={axis} from={from} isShort={present - from < 10_000} />}
        <ul>{rows.map((row) => <Lane key={row.key} row={row} axis={axis} isChosen={row.step !== undefined && row.step.id === chosen?.id && !(row.opens !== undefined && row.key === row.opens && opened.value.has(row.opens))} isOpen={row.opens !== undefined && opened.value.has(row.opens)} onToggle={toggle} />)}</ul>
        <div class="legend">
          {kinds.map((kind) => <span key={kind}><i class={`b-${kind}`} />{texts.kinds[kind]}</span>)}
          <label class="check right"><input type="checkbox" checked={isFolded.value} onChange={(event) => (isFolded.value = event.currentTarget.checked)} />{texts.fold}</label>
        </div>
        {steps.length >= MOST_STEPS && <p class="muted small">{texts.moreSteps(MOST_STEPS)}</p>}
      </div>
      <Drawer store={store} detail={detail} step={chosen} />
    </div>
  );
}

/** The share of a narrow axis that a label takes. */
const NARROW_SPACE = 0.45;

/** Moments on the clock; within seconds, the time since the start. */
function AxisLine({ axis, from, isShort }: { axis: Axis; from: number; isShort: boolean }) {
  const labels = labelsOf(axis.ticks.map(({ moment: time }) => time), (time) => (isShort ? `+${duration(time - from)}` : moment(new Date(time).toISOString(), time)), duration);
  // The last label that a narrow screen shows.
  let narrow = -1;
  return (
    <div class="axis" aria-hidden="true">
      <span />
      <div>
        {axis.ticks.map(({ at }, i) => {
          const hasRoom = at - narrow >= NARROW_SPACE;
          if (hasRoom) narrow = at;
          return <span key={at} class={hasRoom ? undefined : "wide-only"} style={{ left: `${at * 100}%` }}>{labels[i]}</span>;
        })}
      </div>
      <span />
    </div>
  );
}

function Lane({ row, axis, isChosen, isOpen, onToggle }: { row: Row; axis: Axis; isChosen: boolean; isOpen: boolean; onToggle: (key: string) => void }) {
  const status = row.step === undefined ? "" : statuses[row.step.status] ?? row.step.status;
  const lane = useRef<HTMLButtonElement>(null);
  // What failed may be far below.
  useEffect(() => void (isChosen && lane.current?.scrollIntoView({ block: "nearest" })), [isChosen]);
  return (
    <li class="lane-row">
      {row.opens !== undefined && (
        <button class="lane-fold" style={{ marginLeft: `${row.depth * 16}px` }} aria-expanded={isOpen} aria-label={texts.open(row.label)} onClick={() => onToggle(row.opens!)}><Icon name="down" /></button>
      )}
      <button ref={lane} class="lane" aria-current={isChosen ? "true" : undefined} aria-label={`${row.label}, ${row.note}, ${status}, ${row.took}`} onClick={() => (row.step !== undefined ? choose({ step: row.step.step }) : row.opens && onToggle(row.opens))}>
        <span class="lane-name" style={{ paddingLeft: `${row.depth * 16 + 8}px` }}><b class="cut">{row.label}</b><span class="cut">{row.note}</span></span>
        <span class="track">
          {axis.ticks.map(({ at }) => <u key={at} style={{ left: `${at * 100}%` }} />)}
          {row.spans.map((span, i) => {
            const left = axis.place(span.from);
            return <i key={i} class={`b-${span.kind}`} style={{ left: `${left * 100}%`, width: `${Math.max(0, axis.place(span.to) - left) * 100}%` }} />;
          })}
          {axis.folds.map((fold) => <i key={fold.at} class="gap" title={texts.folded(duration(fold.length))} style={{ left: `${fold.at * 100}%`, width: `${fold.width * 100}%` }} />)}
        </span>
        <span class="lane-time">{row.took}</span>
      </button>
    </li>
  );
}

function scopesAround(step: string): string[] {
  const parts = step.split("/");
  return parts.slice(0, -1).flatMap((_, i) => {
    const scope = parts.slice(0, i + 1).join("/");
    return [scope.replace(/\[[^\]]*\]$/, ""), scope];
  });
}

function rowsOf(steps: Step[], opened: ReadonlySet<string>, attempts: Map<number, Schemas["AttemptAnswer"][]>, present: number): Row[] {
  const byScope = new Map<string, Step[]>();
  const scopesOf = new Map<number, Set<string>>();
  for (const step of steps) {
    const scope = step.scope ?? "";
    byScope.set(scope, [...(byScope.get(scope) ?? []), step]);
    if (step.parent !== undefined) scopesOf.set(step.parent, (scopesOf.get(step.parent) ?? new Set()).add(scope));
  }
  const rows: Row[] = [];
  const addSteps = (scope: string, depth: number) => {
    for (const step of byScope.get(scope) ?? []) {
      const scopes = scopesOf.get(step.id);
      rows.push({
        key: `s${step.id}`, depth, step, label: nodeOf(step.step),
        note: [step.node_type, step.scopes !== undefined ? String(step.scopes.total) : "", step.attempts > 1 ? texts.attemptsOf(step.attempts) : ""].filter(Boolean).join(" · "),
        spans: spansOf(step, present, attempts.get(step.id)), took: tookOf(step, present), opens: scopes === undefined ? undefined : step.step,
      });
      if (scopes !== undefined && opened.has(step.step)) addRuns([...scopes], depth + 1);
    }
  };
  const addRuns = (scopes: string[], depth: number) => {
    const runs = scopes.map((scope) => ({ scope, ...summary(byScope.get(scope) ?? [], present, attempts) })).sort((a, b) => a.rank - b.rank || a.from - b.from);
    for (const run of runs.slice(0, LISTED)) {
      rows.push({
        key: run.scope, depth, step: run.worst, label: texts.item(runOf(run.scope)), spans: run.spans, opens: run.scope, took: duration(run.to - run.from),
        note: run.worst === undefined ? "" : `${nodeOf(run.worst.step)}${run.worst.attempts > 1 ? ` · ${texts.attemptsOf(run.worst.attempts)}` : ""}`,
      });
      if (opened.has(run.scope)) addSteps(run.scope, depth + 1);
    }
    const rest = runs.slice(LISTED);
    const last = rest[rest.length - 1];
    if (last !== undefined) {
      const [began, ended] = [Math.min(...rest.map(({ from }) => from)), Math.max(...rest.map(({ to }) => to))];
      rows.push({ key: `${last.scope}…`, depth, label: texts.others(rest.length, statuses[last.worst?.status ?? ""] ?? ""), note: "", spans: [{ kind: "completed", from: began, to: ended }], took: duration(ended - began) });
    }
  };
  addSteps("", 0);
  return rows;
}

function tookOf(step: Step, present: number): string {
  return duration(step.duration ?? Math.max(0, present - Date.parse(step.started_at)));
}

const RANKS: Record<string, number> = { failed: 0, running: 1, retrying: 1, waiting: 1, cancelled: 2, completed: 3, skipped: 3 };

function summary(steps: Step[], present: number, attempts: Map<number, Schemas["AttemptAnswer"][]>) {
  const worst = [...steps].sort((a, b) => (RANKS[a.status] ?? 3) - (RANKS[b.status] ?? 3) || b.id - a.id)[0];
  const spans = steps.flatMap((step) => spansOf(step, present, attempts.get(step.id)).filter(({ kind }) => kind !== "queued"));
  return { worst, spans, rank: RANKS[worst?.status ?? ""] ?? 3, from: Math.min(...spans.map(({ from }) => from)), to: Math.max(...spans.map(({ to }) => to)) };
}

/** Attempts are part of each step alone: those of the few steps with several attempts that are seen are loaded. */
function useAttempts(store: ExecutionStore, steps: Step[], opened: ReadonlySet<string>): Map<number, Schemas["AttemptAnswer"][]> {
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
