/** Small controls that several screens use: copying, and the state of a request that a button sends. */
import { useSignal, type Signal } from "@preact/signals";
import { ApiError } from "../api/client";
import { common } from "../texts/common";
import { focused, giveBack } from "./focus";
import { Icon } from "./icons";
import { announce, failed, warn } from "./toast";

/** Copy a text, also where the page was loaded over plain HTTP and browsers offer no clipboard. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return await navigator.clipboard.writeText(text);
  const before = focused();
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  giveBack(before);
  if (!isCopied) throw new Error("the browser did not copy it");
}

export function CopyButton({ text, label = common.copy, look = "btn" }: { text: string; label?: string; look?: string }) {
  const isDone = useSignal(false);
  function copied(): void {
    isDone.value = true;
    announce(common.copied);
    setTimeout(() => (isDone.value = false), 2000);
  }
  return <button type="button" class={look} onClick={() => void copyText(text).then(copied, () => warn(common.notCopied))}><Icon name="copy" />{isDone.value ? common.copied : label}</button>;
}

export interface Action {
  readonly busy: boolean;
  /** Run it, unless it runs already; a failure is shown as a toast, or passed to `onError`. */
  run(work: () => Promise<unknown>, onError?: (error: unknown) => void): void;
}

export interface Submission {
  readonly busy: boolean;
  /** Why the last run failed; what the form shows. */
  readonly fault: unknown;
  run(work: () => Promise<unknown>): void;
  /** Show no fault, such as that of another form in the same place. */
  clear(): void;
}

/** The request of a form, whose failure is shown in the form; it stays until the next one has been answered. */
export function useSubmission(): Submission {
  const { busy, run } = useAction();
  const fault = useSignal<unknown>(undefined);
  return {
    busy,
    get fault() { return fault.value; },
    run: (work) => run(() => work().then(() => void (fault.value = undefined)), (error) => {
      fault.value = error;
      if (!(error instanceof ApiError)) throw error;
    }),
    clear: () => (fault.value = undefined),
  };
}

/** Run something, unless `busy` says that it runs; the control that has the focus may be disabled meanwhile. */
export function runOnce(busy: Signal<boolean>, work: () => Promise<unknown>, onError: (error: unknown) => void = failed): void {
  if (busy.peek()) return;
  busy.value = true;
  const before = focused();
  work().catch(onError).finally(() => {
    busy.value = false;
    // Once the control can take it again.
    if (before !== undefined) setTimeout(() => giveBack(before));
  });
}

export function useAction(): Action {
  const busy = useSignal(false);
  return {
    get busy() { return busy.value; },
    run: (work, onError) => runOnce(busy, work, onError),
  };
}
