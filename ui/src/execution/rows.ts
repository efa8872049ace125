/** The rows of the timeline: a row for each step, the runs of loops and branches under theirs. */
import type { Schemas } from "../api/client";
import { duration } from "../parts/format";
import { executions as texts } from "../texts/executions";
import { spansOf, type Kind, type Span } from "./bars";
import { nodeOf, runOf, turnsOf } from "./names";
import { progressOf, type Step } from "./store";

/** Attempts of the steps that have several, by the id of the step, as far as they are known. */
export type Attempts = ReadonlyMap<number, Schemas["AttemptAnswer"][]>;

export interface Row {
  key: string;
  depth: number;
  label: string;
  note: string;
  /** The step that the row stands for; a run of a loop stands for its worst one. */
  step?: Step;
  /** The loop whose further runs the row sums up, by status. */
  rest?: { loop: Step; counts: readonly (readonly [status: string, count: number])[] };
  spans: Span[];
  took: string;
  /** The key under which it is opened; undefined if there is nothing in it. */
  opens?: string;
}

/** Runs of a loop that are listed one by one; the others are summed up by status. */
export const LISTED = 20;

interface Run {
  scope: string;
  worst: Step | undefined;
  spans: Span[];
  rank: number;
  from: number;
  to: number;
}

const RANKS: Record<string, number> = { failed: 0, running: 1, retrying: 1, waiting: 1, cancelled: 2, completed: 3, skipped: 3 };
const BARS: Record<string, Kind> = { failed: "failed", running: "running", retrying: "retry", waiting: "waiting", cancelled: "cancelled" };

/** Return the keys that must be open for a step to be seen. */
export function scopesAround(step: string): string[] {
  const parts = step.split("/");
  return parts.slice(0, -1).flatMap((_, i) => {
    const scope = parts.slice(0, i + 1).join("/");
    return [scope.replace(/\[[^\]]*\]$/, ""), scope];
  });
}

/** Return the rows in order. Args: opened: Keys of the rows whose content is shown. present: The moment until which open steps last. */
export function rowsOf(steps: readonly Step[], opened: ReadonlySet<string>, attempts: Attempts, present: number): Row[] {
  const byScope = new Map<string, Step[]>();
  const scopesOf = new Map<number, Set<string>>();
  for (const step of steps) {
    const scope = step.scope ?? "";
    const found = byScope.get(scope);
    if (found === undefined) byScope.set(scope, [step]);
    else found.push(step);
    if (step.parent !== undefined) scopesOf.set(step.parent, (scopesOf.get(step.parent) ?? new Set()).add(scope));
  }
  const rows: Row[] = [];
  const turns = turnsOf(steps);
  const addSteps = (scope: string, depth: number) => {
    for (const step of byScope.get(scope) ?? []) {
      const scopes = scopesOf.get(step.id);
      rows.push({
        key: `s${step.id}`, depth, step, label: nodeOf(step.step),
        note: noteOf(step, step.node_type, progressOf(step)),
        spans: spansOf(step, present, attempts.get(step.id)), took: tookOf(step, present), opens: scopes === undefined ? undefined : step.step,
      });
      if (scopes !== undefined && opened.has(step.step)) addRuns(step, [...scopes], depth + 1);
    }
  };
  const addRuns = (loop: Step, scopes: string[], depth: number) => {
    const runs = scopes.map((scope) => summary(scope, byScope.get(scope) ?? [], present, attempts));
    const [listed, rest] = chosenOf(runs);
    for (const run of listed) {
      if (loop.node_type === "agent" && run.worst !== undefined) {
        // Each question and each call is one step.
        rows.push({ key: run.scope, depth, step: run.worst, label: nodeOf(run.worst.step), note: noteOf(run.worst, runOf(run.scope, turns)), spans: run.spans, took: tookOf(run.worst, present) });
        continue;
      }
      rows.push({
        key: run.scope, depth, step: run.worst, label: runOf(run.scope), spans: run.spans, opens: run.scope, took: duration(run.to - run.from),
        note: run.worst === undefined ? "" : noteOf(run.worst, nodeOf(run.worst.step)),
      });
      if (opened.has(run.scope)) addSteps(run.scope, depth + 1);
    }
    if (rest.length > 0) rows.push(restOf(loop, rest, depth));
  };
  addSteps("", 0);
  return rows;
}

/** Return the runs that are listed, in their order, and the others: those that failed or have not ended come before the rest. */
export function chosenOf<R extends { rank: number; from: number }>(runs: readonly R[]): [listed: R[], rest: R[]] {
  const inOrder = [...runs].sort((a, b) => a.from - b.from);
  if (runs.length <= LISTED) return [inOrder, []];
  const listed = new Set([...inOrder].sort((a, b) => a.rank - b.rank || a.from - b.from).slice(0, LISTED));
  return [inOrder.filter((run) => listed.has(run)), inOrder.filter((run) => !listed.has(run))];
}

/** Return the row of the runs that are not listed: how many ended how, and one bar for each status. */
function restOf(loop: Step, rest: readonly Run[], depth: number): Row {
  const byStatus = new Map<string, Run[]>();
  for (const run of rest) {
    const status = run.worst?.status ?? "completed";
    byStatus.set(status, [...(byStatus.get(status) ?? []), run]);
  }
  const sorted = [...byStatus].sort(([a], [b]) => (RANKS[b] ?? 3) - (RANKS[a] ?? 3));
  const from = (runs: readonly Run[]) => Math.min(...runs.map((run) => run.from));
  const to = (runs: readonly Run[]) => Math.max(...runs.map((run) => run.to));
  return {
    key: `${loop.step}…`, depth, label: texts.others(rest.length), note: "", rest: { loop, counts: sorted.map(([status, runs]) => [status, runs.length] as const).reverse() },
    // The worst is drawn last, above the others.
    spans: sorted.map(([status, runs]) => ({ kind: BARS[status] ?? "completed", from: from(runs), to: to(runs) })), took: duration(to(rest) - from(rest)),
  };
}

function noteOf({ attempts }: Step, ...notes: (string | undefined)[]): string {
  return [...notes, attempts > 1 ? texts.attemptsOf(attempts) : ""].filter(Boolean).join(" · ");
}

function tookOf(step: Step, present: number): string {
  return duration(step.duration ?? Math.max(0, present - Date.parse(step.started_at)));
}

function summary(scope: string, steps: readonly Step[], present: number, attempts: Attempts): Run {
  const worst = [...steps].sort((a, b) => (RANKS[a.status] ?? 3) - (RANKS[b.status] ?? 3) || b.id - a.id)[0];
  const spans = steps.flatMap((step) => spansOf(step, present, attempts.get(step.id)).filter(({ kind }) => kind !== "queued"));
  return { scope, worst, spans, rank: RANKS[worst?.status ?? ""] ?? 3, from: Math.min(...spans.map(({ from }) => from)), to: Math.max(...spans.map(({ to }) => to)) };
}
