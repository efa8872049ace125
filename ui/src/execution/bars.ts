/** The timeline: what each step did when, on an axis in which long pauses are folded. */
import type { Schemas } from "../api/client";
import type { Step } from "./store";

export type Kind = "queued" | "running" | "completed" | "failed" | "cancelled" | "retry" | "waiting";

export interface Span {
  kind: Kind;
  from: number;
  to: number;
}

const OPEN = new Set(["running", "retrying", "waiting"]);

/** Return what a step did, in order; `attempts` are known only of steps that have been looked at. */
export function spansOf(step: Step, present: number, attempts?: Schemas["AttemptAnswer"][]): Span[] {
  const from = Date.parse(step.started_at);
  const to = step.completed_at !== undefined ? Date.parse(step.completed_at) : present;
  const spans: Span[] = step.queued > 0 ? [{ kind: "queued", from: from - step.queued, to: from }] : [];
  if (attempts !== undefined && attempts.length > 1) {
    for (const [i, attempt] of attempts.entries()) {
      const began = Date.parse(attempt.started_at);
      const ended = attempt.completed_at !== undefined ? Date.parse(attempt.completed_at) : to;
      spans.push({ kind: attempt.status === "completed" ? "completed" : attempt.status === "running" ? "running" : "failed", from: began, to: ended });
      const next = attempts[i + 1];
      if (next !== undefined) spans.push({ kind: "retry", from: ended, to: Date.parse(next.started_at) });
      else if (step.status === "retrying") spans.push({ kind: "retry", from: ended, to });
    }
    return spans;
  }
  if (step.wait !== undefined) {
    const since = Math.max(from, Date.parse(step.wait.since));
    if (since - from > 50) spans.push({ kind: "running", from, to: since });
    spans.push({ kind: "waiting", from: since, to });
    // Otherwise nothing would tell that what it waited for has failed.
    if (step.status === "failed" || step.status === "cancelled") spans.push({ kind: step.status, from: to, to });
    return spans;
  }
  const kind: Kind = step.status === "retrying" ? "retry" : OPEN.has(step.status) ? "running" : step.status === "failed" ? "failed" : step.status === "cancelled" ? "cancelled" : "completed";
  spans.push({ kind, from, to });
  return spans;
}

export interface Fold {
  /** Share of the width, 0 to 1. */
  at: number;
  width: number;
  /** Milliseconds that are left out. */
  length: number;
}

export interface Axis {
  /** Return the place of a moment, 0 to 1. */
  place: (moment: number) => number;
  folds: Fold[];
  ticks: { at: number; moment: number }[];
}

/** Return the ticks whose labels have room on an axis. Args: share: The share of the axis that a label takes. beyond: By how much the last one may be longer than the axis. */
export function labelled(ticks: Axis["ticks"], share: number, beyond = 0): Axis["ticks"] {
  const found: Axis["ticks"] = [];
  for (const tick of ticks) {
    const before = found.at(-1);
    if (before === undefined || (tick.at - before.at >= share && tick.at + share <= 1 + beyond)) found.push(tick);
  }
  return found;
}

/** Return the text of each label as the time since the start; empty where the same text stands before. */
export function sinceStart(moments: readonly number[], start: number, length: (milliseconds: number) => string): string[] {
  return moments.map((moment) => `+${length(moment - start)}`).map((text, i, all) => (text === all[i - 1] ? "" : text));
}

/** Return the text of each label by the clock; a text that would repeat is the time since the label that has it. */
export function labelsOf(moments: readonly number[], clock: (moment: number) => string, since: (milliseconds: number) => string): string[] {
  let shown = "";
  let at = 0;
  return moments.map((moment) => {
    const text = clock(moment);
    if (text === shown) return `+${since(moment - at)}`;
    [shown, at] = [text, moment];
    return text;
  });
}

/** A pause is folded if nothing runs in it and it is longer than all else together would allow. */
const LEAST_PAUSE = 2000;
const FOLD_WIDTH = 0.04;

/** Return the axis of the spans. While nothing but waiting happens for long, the axis is folded. */
export function axisOf(spans: Span[], from: number, to: number, isFolded: boolean): Axis {
  const end = Math.max(to, from + 1);
  const pauses = isFolded ? pausesOf(spans, from, end) : [];
  const busy = end - from - pauses.reduce((sum, pause) => sum + pause.to - pause.from, 0);
  const share = 1 - pauses.length * FOLD_WIDTH;
  // Pieces of the axis: busy ones keep their proportions, each pause has the same small width.
  const pieces: { from: number; to: number; at: number; width: number; isPause: boolean }[] = [];
  let at = 0;
  let begin = from;
  for (const pause of [...pauses, { from: end, to: end }]) {
    const width = ((pause.from - begin) / Math.max(busy, 1)) * share;
    pieces.push({ from: begin, to: pause.from, at, width, isPause: false });
    at += width;
    if (pause.to > pause.from) pieces.push({ from: pause.from, to: pause.to, at, width: FOLD_WIDTH, isPause: true });
    at += pause.to > pause.from ? FOLD_WIDTH : 0;
    begin = pause.to;
  }
  const place = (moment: number) => {
    const piece = pieces.find((candidate) => moment <= candidate.to) ?? pieces[pieces.length - 1]!;
    const length = Math.max(piece.to - piece.from, 1);
    return Math.min(1, Math.max(0, piece.at + (Math.max(0, moment - piece.from) / length) * piece.width));
  };
  return {
    place,
    folds: pieces.filter(({ isPause }) => isPause).map((piece) => ({ at: piece.at, width: piece.width, length: piece.to - piece.from })),
    ticks: ticksOf(pieces),
  };
}

function pausesOf(spans: Span[], from: number, to: number): { from: number; to: number }[] {
  const busy = spans.filter(({ kind }) => kind !== "waiting" && kind !== "retry" && kind !== "queued").sort((a, b) => a.from - b.from);
  const pauses: { from: number; to: number }[] = [];
  let reached = from;
  for (const span of [...busy, { from: to, to }]) {
    if (span.from > reached) pauses.push({ from: reached, to: span.from });
    reached = Math.max(reached, span.to);
  }
  const work = to - from - pauses.reduce((sum, pause) => sum + pause.to - pause.from, 0);
  const least = Math.max(LEAST_PAUSE, work * 0.5);
  return pauses
    .filter((pause) => pause.to - pause.from > least)
    .sort((a, b) => b.to - b.from - (a.to - a.from))
    .slice(0, 8)
    .sort((a, b) => a.from - b.from)
    // A little of the pause stays at both sides, so that it can be seen what waits.
    .map((pause) => ({ from: pause.from + least * 0.1, to: pause.to - least * 0.1 }));
}

function ticksOf(pieces: { from: number; to: number; at: number; width: number; isPause: boolean }[]): Axis["ticks"] {
  const ticks: Axis["ticks"] = [];
  for (const piece of pieces) {
    if (piece.isPause) continue;
    const count = Math.max(1, Math.round(piece.width * 5));
    for (let i = 0; i < count; i++) ticks.push({ at: piece.at + (piece.width * i) / count, moment: piece.from + ((piece.to - piece.from) * i) / count });
  }
  return ticks.filter((tick, i) => i === 0 || tick.at - ticks[i - 1]!.at > 0.08);
}
