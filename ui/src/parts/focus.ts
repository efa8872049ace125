/** The focus that a control has lost, because it was disabled or has gone. */

/** The control that had the focus last, or was pressed since: some browsers give a button that is pressed no focus. */
let last: HTMLElement | undefined;
if (typeof document !== "undefined") {
  document.addEventListener("focusin", ({ target }) => (last = target as HTMLElement));
  document.addEventListener("pointerdown", ({ target }) => (last = (target as Element | null)?.closest?.<HTMLElement>("a, button, input, select, textarea") ?? undefined));
}

/** Return the control that has the focus, or had it last if none has it: a button that sends something is disabled meanwhile. */
export function focused(): HTMLElement | undefined {
  let found = document.activeElement;
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  return found === null || found === document.body ? last : (found as HTMLElement);
}

/** If nothing has the focus, give it to a control; to the title of the screen if that has gone, such as with its row of a list. */
export function giveBack(control: HTMLElement | undefined): void {
  for (const each of [control, document.querySelector<HTMLElement>("main h1")]) {
    if (document.activeElement === document.body) each?.focus({ preventScroll: true });
  }
}
