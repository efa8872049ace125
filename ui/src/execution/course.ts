/** The course of an execution in colours: what it did after each of its events, as the timeline shows it. */
import type { Kind } from "./bars";
import { FINAL, statusOf } from "./store";
import type { EventMessage } from "./stream";

/** What is seen of several things at the same moment: the first of these. */
const ORDER: readonly Kind[] = ["failed", "cancelled", "completed", "retry", "waiting", "queued"];
/** Pieces of a course; more could not be told apart. */
const MOST_PIECES = 240;

export interface Piece {
  kind: Kind;
  /** Events after which it begins and ends. */
  from: number;
  to: number;
}

/** Return what happened after each event: what ran is named after how it ended. Args: name: The execution that an event belongs to. */
export function kindsAfter(events: readonly EventMessage[], name: (event: EventMessage) => string = () => ""): Kind[] {
  const seen = events.map(() => ORDER.length - 1);
  const open = new Map<string, { kind: "run" | "retry" | "waiting"; from: number }>();
  function close(key: string, to: number, kind: Kind): void {
    const begun = open.get(key);
    open.delete(key);
    if (begun === undefined) return;
    const rank = ORDER.indexOf(begun.kind === "run" ? kind : begun.kind);
    for (let i = begun.from; i < to; i++) seen[i] = Math.min(seen[i]!, rank);
  }
  events.forEach((event, i) => {
    const status = event.step === undefined ? undefined : statusOf(event);
    if (status === undefined) return;
    const key = `${name(event)} ${event.step}`;
    close(key, i, status === "failed" || status === "retrying" ? "failed" : "completed");
    // What is inside a loop or a branch shows what happens in it.
    if (status === "running" && event.scopes === undefined) open.set(key, { kind: "run", from: i });
    else if (status === "retrying") open.set(key, { kind: "retry", from: i });
    else if (status === "waiting") open.set(key, { kind: "waiting", from: i });
  });
  const hasEnded = events.some(({ step, status }) => step === undefined && FINAL.has(status ?? ""));
  for (const key of [...open.keys()]) close(key, events.length, hasEnded ? "cancelled" : "completed");
  const kinds = seen.map((rank) => ORDER[rank]!);
  // After its last step, it shows how it ended.
  const end = events.findLast(({ step, status }) => step === undefined && FINAL.has(status ?? ""))?.status as Kind | undefined;
  for (let i = kinds.length - 1; end !== undefined && i >= 0 && kinds[i] === "queued"; i--) kinds[i] = end;
  return kinds;
}

/** Return the pieces of one kind, with few of them for long executions: where several would be one, the most serious is seen. */
export function courseOf(kinds: readonly Kind[]): Piece[] {
  const width = Math.max(1, Math.ceil(kinds.length / MOST_PIECES));
  const pieces: Piece[] = [];
  for (let from = 0; from < kinds.length; from += width) {
    const to = Math.min(kinds.length, from + width);
    const kind = ORDER[Math.min(...kinds.slice(from, to).map((each) => ORDER.indexOf(each)))]!;
    const before = pieces.at(-1);
    if (before?.kind === kind) before.to = to;
    else pieces.push({ kind, from, to });
  }
  return pieces;
}
