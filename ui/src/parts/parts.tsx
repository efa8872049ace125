/** The base components: status, time, tabs, empty states, errors, skeletons. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "../api/client";
import type { Query } from "../api/query";
import { common, statuses } from "../texts/common";
import { exact, moment, now, relative } from "./format";

const TONES: Record<string, "ok" | "bad" | "run" | "wait" | "off"> = {
  completed: "ok", failed: "bad", running: "run", waiting: "wait", retrying: "wait", cancelled: "off", skipped: "off", interrupted: "bad",
};

/** The colour in which a status is shown, as a class. */
export function toneOf(status: string): "ok" | "bad" | "run" | "wait" | "off" {
  return TONES[status] ?? "off";
}

export function Status({ of }: { of: string }) {
  return <span class={`pill ${toneOf(of)}`}>{statuses[of] ?? of}</span>;
}

/** A moment in the reader's zone; the exact one shows on hover. `how` chooses "41 m ago" instead of the clock. */
export function Time({ at, how = "moment" }: { at: string; how?: "moment" | "relative" }) {
  const text = how === "relative" ? relative(at, now.value) : moment(at, now.value);
  return <time dateTime={at} title={exact(at)}>{text}</time>;
}

export interface Tab {
  label: string;
  href: string;
  current: boolean;
}

export function Tabs({ label, tabs }: { label: string; tabs: Tab[] }) {
  const current = useRef<HTMLAnchorElement>(null);
  const chosen = tabs.find((tab) => tab.current)?.href;
  // On a narrow screen it may be beyond the edge. The page itself stays where it is.
  useEffect(() => {
    const link = current.current;
    if (link !== null && link.parentElement !== null) link.parentElement.scrollLeft = Math.max(0, link.offsetLeft + link.offsetWidth - link.parentElement.clientWidth);
  }, [chosen]);
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.label} ref={tab.current ? current : undefined} href={tab.href} aria-current={tab.current ? "page" : undefined}>{tab.label}</a>
      ))}
    </nav>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><h2>{title}</h2>{children}</div>;
}

/** Milliseconds after which it is tried again, with the number of failures. */
const AGAIN = [1500, 3000, 6000, 10_000];

/** Milliseconds from which on it is said when it is tried again. */
const LONG = 15_000;

/** Try again by itself while the reason is one that passes, and the page is seen. Return what is said of it. */
export function useRetries(error: unknown, retry: (() => unknown) | undefined): string | undefined {
  const failures = useRef(0);
  const said = useSignal<string | undefined>(undefined);
  const passes = retry !== undefined && error instanceof ApiError && error.passes;
  useEffect(() => {
    said.value = undefined;
    if (!passes) return;
    const delay = AGAIN[Math.min(failures.current++, AGAIN.length - 1)]!;
    const again = () => {
      if (document.visibilityState === "visible") void retry();
      else timer = setTimeout(again, delay);
    };
    // Pages that have lost the same server do not come back at the same moment, and none before the server wants it.
    const first = Math.max(delay * (0.75 + Math.random() / 2), (error.retryAfter ?? 0) * 1000 * (1 + Math.random() / 4));
    let timer = setTimeout(again, first);
    said.value = first < LONG ? common.isRetried : common.isRetriedAt(moment(new Date(Date.now() + first).toISOString(), Date.now()));
    return () => clearTimeout(timer);
  }, [error]);
  return said.value;
}

/**
 * Why a request failed, in the server's words, with a hint, and for a fault of the server the id that its log has.
 *
 * `isAbove`: It concerns what is still shown, above which it floats, so that nothing moves when it comes and goes.
 */
export function Failure({ error, retry, isAbove }: { error: unknown; retry?: () => unknown; isAbove?: boolean }) {
  const known = error instanceof ApiError ? error : undefined;
  const retries = useRetries(error, retry);
  // The message of a single fault may be all of it.
  const faults = (known?.details.errors ?? [])
    .map((fault) => ({ ...fault, place: fault.path || fault.pointer.slice(1) }))
    .filter((fault) => `${fault.place}: ${fault.message}` !== known?.message);
  // What the page does by itself, nobody is told to do.
  const hint = retries !== undefined && known?.hint?.endsWith("then try again") ? undefined : known?.hint;
  return (
    <div class={isAbove ? "alert above" : "alert"} role="alert">
      <b>{known?.message ?? common.broken}</b>
      {hint && <span>{common.hint(hint)}</span>}
      {faults.length > 0 && (
        <ul class="small">
          {faults.map((fault) => <li key={fault.pointer + fault.path}><code>{fault.place}</code>: {fault.message}{fault.hint && ` (${fault.hint})`}</li>)}
        </ul>
      )}
      {known?.requestId && known.status >= 500 && <span class="small muted">{common.requestId(known.requestId)}</span>}
      {retry && <span class="row"><button class="btn" onClick={() => void retry()}>{common.retry}</button>{retries && <span class="small muted">{retries}</span>}</span>}
    </div>
  );
}

/** What a query has loaded; before, a skeleton of the height that it will have; its error, if it failed. */
export function Load<T>({ query, rows = 5, children }: { query: Query<T>; rows?: number; children: (data: T) => ComponentChildren }) {
  const { data, error } = query;
  return (
    <>
      {error && <Failure error={error} retry={query.reload} isAbove={data !== undefined} />}
      {data !== undefined ? children(data) : !error && <Skeleton rows={rows} />}
    </>
  );
}

export function Skeleton({ rows }: { rows: number }) {
  return (
    <div class="card" aria-busy="true">
      <span class="hidden">{common.loading}</span>
      <table aria-hidden="true"><tbody>
        {Array.from({ length: rows }, (_, i) => <tr key={i}><td><span class="skeleton" style={{ width: `${35 + ((i * 17) % 40)}%` }} /></td></tr>)}
      </tbody></table>
    </div>
  );
}
