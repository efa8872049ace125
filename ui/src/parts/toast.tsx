/** Short messages about what has happened. An error stays until it is closed. */
import { signal } from "@preact/signals";
import { ApiError } from "../api/client";
import { common } from "../texts/common";
import { Icon } from "./icons";

interface Toast {
  id: number;
  text: string;
  isError: boolean;
  /** Its reason passes by itself, so that a later success makes it untrue. */
  passes: boolean;
}

const toasts = signal<Toast[]>([]);
let last = 0;

function show(text: string, isError: boolean, passes = false): void {
  const id = ++last;
  // What is said again takes the place of the first time.
  toasts.value = [...toasts.value.filter((toast) => toast.text !== text).slice(-2), { id, text, isError, passes }];
  if (!isError) setTimeout(() => close(id), 6000);
}

function close(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

/** Say that something has been done: only after the server has said so. */
export function done(text: string): void {
  toasts.value = toasts.value.filter(({ passes }) => !passes);
  show(text, false);
}

/** Say that something has not succeeded, though the server has answered. */
export function warn(text: string): void {
  show(text, true);
}

/** What is said to screen readers alone, because it is seen where it has happened. */
const said = signal("");

/** Say to screen readers what a control shows for a moment, such as that it has copied. */
export function announce(text: string): void {
  said.value = text;
  // Said again, it is news again.
  setTimeout(() => (said.value = ""), 2000);
}

/** Say why something was not done. */
export function failed(error: unknown): void {
  if (!(error instanceof ApiError)) throw error;
  const text = error.hint ? `${error.message}. ${common.hint(error.hint)}` : error.message;
  show(error.status >= 500 && error.requestId ? `${text} ${common.requestId(error.requestId)}` : text, true, error.passes || !!error.details.errors);
}

/** The open dialogs, the topmost last: what is outside of that one is dimmed, cannot be clicked, and is not read aloud. */
const dialogs = signal<readonly object[]>([]);

/** Add a dialog that shows the messages while it is the topmost. Return how to remove it. */
export function openLayer(dialog: object): () => void {
  dialogs.value = [...dialogs.peek(), dialog];
  return () => (dialogs.value = dialogs.peek().filter((each) => each !== dialog));
}

/** The messages. Args: dialog: The dialog that this is in; absent on the page itself. */
export function Toasts({ dialog }: { dialog?: object }) {
  const isTop = dialogs.value.at(-1) === dialog;
  return (
    <div class="toasts" role="status" aria-live="polite">
      {isTop && toasts.value.map(({ id, text, isError }) => (
        <div key={id} class={isError ? "toast bad" : "toast"}>
          <span class="grow">{text}</span>
          <button aria-label={common.close} onClick={() => close(id)}><Icon name="close" /></button>
        </div>
      ))}
      <span class="hidden">{isTop && said.value}</span>
    </div>
  );
}
