/** Small controls that several screens use: copying, and the state of a request that a button sends. */
import { useSignal } from "@preact/signals";
import { common } from "../texts/common";
import { Icon } from "./icons";
import { failed } from "./toast";

/** Copy a text, also where the page was loaded over plain HTTP and browsers offer no clipboard. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return await navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function CopyButton({ text, label = common.copy, look = "btn" }: { text: string; label?: string; look?: string }) {
  const isDone = useSignal(false);
  async function copy(): Promise<void> {
    await copyText(text);
    isDone.value = true;
    setTimeout(() => (isDone.value = false), 2000);
  }
  return <button type="button" class={look} onClick={() => void copy()}><Icon name="copy" />{isDone.value ? common.copied : label}</button>;
}

export interface Action {
  readonly busy: boolean;
  /** Run it, unless it runs already; a failure is shown as a toast, or passed to `onError`. */
  run(work: () => Promise<void>, onError?: (error: unknown) => void): void;
}

export function useAction(): Action {
  const busy = useSignal(false);
  return {
    get busy() { return busy.value; },
    run(work, onError = failed) {
      if (busy.peek()) return;
      busy.value = true;
      work().catch(onError).finally(() => (busy.value = false));
    },
  };
}
