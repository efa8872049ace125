/** What a screen reads: loaded once for its key, kept while it is loaded again, and abandoned with the screen. */
import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { keepInEntry, keptInEntry } from "../app/router";
import { tick } from "../parts/format";
import { ApiError } from "./client";

export interface Query<T> {
  /** The last answer; undefined until there is one. */
  readonly data: T | undefined;
  /** Why the last request failed; undefined after a success. */
  readonly error: ApiError | undefined;
  readonly loading: boolean;
  /** Load again; what is shown stays until then. */
  reload(): Promise<void>;
  /** Replace the answer, such as by that of a change. */
  set(data: T): void;
}

/** Milliseconds after which a request that nothing has answered is given up for a new one. */
const PATIENCE = 30_000;
/** Milliseconds after a movement of the pointer in which nothing is loaded again by itself: a row must not move away before the click. */
const AIM = 1000;
let aimedAt = 0;
if (typeof window !== "undefined") window.addEventListener("pointermove", () => (aimedAt = Date.now()), { passive: true });

export class Loaded<T> implements Query<T> {
  private readonly state;
  private controller: AbortController | undefined;
  private since = 0;
  load: (signal: AbortSignal) => Promise<T> = () => new Promise(() => {});
  key = "";

  /** Args: name: See `useQuery`. */
  constructor(key: string, private readonly name: string | undefined) {
    const kept = name === undefined ? undefined : keptInEntry<{ key: string; data: T }>(name);
    this.state = signal<{ data?: T; error?: ApiError; loading: boolean }>({ data: kept?.key === key ? kept.data : undefined, loading: true });
  }

  get data() { return this.state.value.data; }
  get error() { return this.state.value.error; }
  get loading() { return this.state.value.loading; }

  reload = async (): Promise<void> => {
    this.controller?.abort();
    const controller = (this.controller = new AbortController());
    this.since = Date.now();
    this.state.value = { ...this.state.peek(), loading: true };
    try {
      const data = await this.load(controller.signal);
      if (controller.signal.aborted) return;
      this.set(data);
      if (this.name !== undefined) keepInEntry(this.name, { key: this.key, data });
    } catch (error) {
      if (controller.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.state.value = { ...this.state.peek(), error, loading: false };
    }
  };

  /**
   * Load again, unless that is under way: a server that needs longer than from one tick to the next would never be heard.
   * What was refused is asked for again by the reader alone.
   */
  tick(): void {
    const { loading, error } = this.state.peek();
    if (loading ? Date.now() - this.since > PATIENCE : !error?.lasts) void this.reload();
  }

  set = (data: T): void => {
    // An answer that was asked for before must not replace it.
    this.controller?.abort();
    tick();
    this.state.value = { data, loading: false };
  };

  forget(): void {
    this.controller?.abort();
  }
}

/** Look again and again while the page is seen, and at once when it is seen again. Return how to stop. */
export function whileSeen(look: () => void, every: number): () => void {
  const lookIfSeen = () => {
    if (document.visibilityState === "visible") look();
  };
  const timer = setInterval(lookIfSeen, every);
  document.addEventListener("visibilitychange", lookIfSeen);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", lookIfSeen);
  };
}

/**
 * Load something for a component.
 *
 * @param key What is loaded, as text: when it changes, it is loaded again.
 * @param load The request; it should pass on its signal.
 * @param every Milliseconds after which it is loaded again while the page is visible.
 * @param name Under which the answer is kept for when the reader comes back to this screen; by default it is not.
 */
export function useQuery<T>(key: string, load: (signal: AbortSignal) => Promise<T>, every?: number, name?: string): Query<T> {
  const query = useMemo(() => new Loaded<T>(key, name), []);
  query.load = load;
  query.key = key;
  useEffect(() => {
    void query.reload();
    return () => query.forget();
  }, [key]);
  useEffect(() => every === undefined ? undefined : whileSeen(() => {
    if (Date.now() - aimedAt > AIM) query.tick();
  }, every), [every]);
  return query;
}
