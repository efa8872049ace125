/** Requests that start something, which neither a second click nor a repetition after a lost answer may do twice. */
import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { uniqueName } from "../app/unique";
import { runOnce } from "./tools";

/** The header by which the server recognizes a repetition. */
export type Key = { "Idempotency-Key": string };

export interface Start {
  /** A start is under way. */
  readonly busy: boolean;
  /**
   * Start something, unless a start is under way.
   *
   * @param intent What is started, such as the body of the request: until it has succeeded, the same one has the same key.
   * @param work Sends the request with the header.
   * @param onError Gets a failure, instead of a toast.
   */
  run(intent: unknown, work: (headers: Key) => Promise<void>, onError?: (error: unknown) => void): void;
}

/** Return the state of a dialog or a button that starts something. */
export function startOnce(): Start {
  const busy = signal(false);
  let last: { intent: string; key: string } | undefined;
  async function start(intent: string, work: (headers: Key) => Promise<void>): Promise<void> {
    if (last?.intent !== intent) last = { intent, key: uniqueName() };
    await work({ "Idempotency-Key": last.key });
    last = undefined;
  }
  return {
    get busy() { return busy.value; },
    run: (intent, work, onError) => runOnce(busy, () => start(JSON.stringify(intent), work), onError),
  };
}

export function useStart(): Start {
  return useMemo(startOnce, []);
}
