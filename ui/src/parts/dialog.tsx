/** A modal dialog of the browser: it holds the focus, and Escape closes it. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";
import { common } from "../texts/common";
import { focused, giveBack } from "./focus";
import { Icon } from "./icons";
import { done, openLayer, Toasts } from "./toast";
import { useAction } from "./tools";

interface Props {
  title: string;
  wide?: boolean;
  /** Nothing of the page is seen behind it. */
  isAlone?: boolean;
  /** Called when the dialog is closed by the user; without it, the dialog cannot be closed. */
  onClose?: () => void;
  /** Buttons at the bottom. */
  actions?: ComponentChildren;
  children: ComponentChildren;
}

/** The control that had the focus before a dialog that is being closed. */
let opener: HTMLElement | undefined;

/** Press the button that sends the form, which may be disabled, by Ctrl or ⌘ with Enter: in a text of several lines Enter alone does not. */
function sendForm(event: KeyboardEvent & { currentTarget: HTMLDialogElement }): void {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  // Some browsers send the form of a field of one line by themselves.
  event.preventDefault();
  const form = (event.target as Element).closest("form") ?? event.currentTarget.querySelector("form");
  [...(form?.elements ?? [])].find((control): control is HTMLButtonElement => control instanceof HTMLButtonElement && control.type === "submit")?.click();
}

export function Dialog({ title, wide, isAlone, onClose, actions, children }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const layer = useRef({}).current;
  const id = useId();
  // Before the next key, which is already for the dialog.
  useLayoutEffect(() => {
    // Within a dialog that is being closed, nothing has the focus for long.
    const before = opener ?? focused();
    ref.current?.showModal();
    // Without a field of its own that waits for keys, the dialog begins with its title, not with the way out.
    if (document.activeElement?.getAttribute("aria-label") === common.close) heading.current?.focus();
    const close = openLayer(layer);
    return () => {
      close();
      opener = before;
      // The page takes no focus before the dialog has left it. A dialog that follows this one returns it then.
      queueMicrotask(() => {
        opener = undefined;
        giveBack(before);
      });
    };
  }, []);
  // The content may have been replaced, with the control that had the focus.
  useEffect(() => {
    if (!ref.current?.contains(document.activeElement)) (ref.current?.querySelector<HTMLElement>("[autofocus]") ?? heading.current)?.focus();
  }, [title]);
  return (
    <dialog
      ref={ref}
      class={wide ? "wide" : isAlone ? "is-alone" : undefined}
      aria-labelledby={id}
      onKeyDown={sendForm}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onClose={() => {
        // The browser closes a dialog at a second Escape, and asks nobody.
        if (onClose === undefined) ref.current?.showModal();
        else onClose();
      }}
    >
      <div class="dialog-head">
        <h2 id={id} ref={heading} tabIndex={-1}>{title}</h2>
        {onClose && <button class="btn quiet icon right" aria-label={common.close} onClick={onClose}><Icon name="close" /></button>}
      </div>
      <div class="dialog-body">{children}</div>
      {actions && <div class="dialog-foot">{actions}</div>}
      <Toasts dialog={layer} />
    </dialog>
  );
}

interface Question {
  title: string;
  action: string;
  /** The other button, where "Cancel" would be taken for the action. */
  keep?: string;
  busy?: boolean;
  onConfirm: () => void;
  onClose: () => void;
  children: ComponentChildren;
}

/** A question before something that cannot be undone. */
export function Confirm({ title, action, keep = common.cancel, busy, onConfirm, onClose, children }: Question) {
  return (
    <Dialog
      title={title}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{keep}</button>
        <button class="btn danger" disabled={busy} onClick={onConfirm}>{action}</button>
      </>}
    >
      {children}
    </Dialog>
  );
}

interface Asked extends Pick<Question, "title" | "action"> {
  /** What follows from it. */
  hint: ComponentChildren;
  /** Does it; the question stays until that has succeeded. */
  run: () => Promise<unknown>;
  /** What is said then. */
  said?: string;
}

/** Questions of a screen, one at a time. */
export function useQuestion(): { ask: (asked: Asked) => void; busy: boolean; question: ComponentChildren } {
  const asked = useSignal<Asked | undefined>(undefined);
  const { busy, run } = useAction();
  const close = () => (asked.value = undefined);
  async function act(confirmed: Asked): Promise<void> {
    await confirmed.run();
    // It may have been closed meanwhile, and another one asked.
    if (asked.peek() === confirmed) close();
    if (confirmed.said !== undefined) done(confirmed.said);
  }
  const now = asked.value;
  return {
    ask: (next) => (asked.value = next),
    busy,
    question: now && <Confirm title={now.title} action={now.action} busy={busy} onConfirm={() => run(() => act(now))} onClose={close}>{typeof now.hint === "string" ? <p class="muted">{now.hint}</p> : now.hint}</Confirm>,
  };
}

/** The same, which is confirmed by typing the name of what is lost. */
export function ConfirmByName({ name, busy, children, ...question }: Question & { name: string }) {
  const typed = useSignal("");
  const id = useId();
  return (
    <Confirm {...question} busy={busy === true || typed.value !== name}>
      {children}
      <div class="field">
        <label for={id}>{common.confirmBy(name)}</label>
        <input id={id} autocomplete="off" autofocus spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />
      </div>
    </Confirm>
  );
}
