/** Keys that work on every screen. */
import { signal } from "@preact/signals";
import { later } from "../parts/later";
import { go, slug, to } from "./router";
import { singleKeys } from "./single-keys";

export const open = signal<"palette" | "help" | "more" | undefined>(undefined);

const load = () => import("./palette");
const Palette = later<{ onClose: () => void }>(() => load().then((module) => module.Palette), { isAbove: true });
const Help = later<{ onClose: () => void }>(() => load().then((module) => module.Help), { isAbove: true });
const More = later<{ onClose: () => void }>(() => load().then((module) => module.More), { isAbove: true });
/** Milliseconds after which the dialogs are loaded although no key has asked for one: the first letters are not lost then. */
const IDLE = 3000;

const PLACES: Record<string, string> = { o: "", f: "/flows", e: "/executions", a: "/approvals", t: "/triggers" };
/** Milliseconds in which the second key must follow `g`. */
const SEQUENCE = 1000;

/** Move the focus along the rows of the screen. */
function move(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main [data-nav]")];
  const at = rows.indexOf(document.activeElement as HTMLElement);
  rows[Math.min(rows.length - 1, Math.max(0, at === -1 ? (by === 1 ? 0 : rows.length - 1) : at + by))]?.focus();
}

function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return element !== null && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) || element.shadowRoot !== null);
}

export function listenToKeys(): () => void {
  let waitsUntil = 0;
  const idle = setTimeout(() => void load().catch(() => undefined), IDLE);
  function onKey(event: KeyboardEvent): void {
    if (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey) && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (document.querySelector("dialog[open]") === null) open.value = "palette";
      // Pressed again, it begins another search.
      else document.querySelector<HTMLInputElement>("dialog[open] input[aria-controls=palette]")?.select();
      return;
    }
    // Composed, because an editor has its text in a shadow root.
    if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.composedPath()[0] ?? event.target) || document.querySelector("dialog[open]") !== null) return;
    if (!singleKeys.peek()) return;
    const follows = Date.now() < waitsUntil;
    waitsUntil = 0;
    if (follows && event.key in PLACES) go(to(PLACES[event.key]!));
    else if (event.key === "g") waitsUntil = Date.now() + SEQUENCE;
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") open.value = "help";
    else if (event.key === "/") document.querySelector<HTMLElement>("main .filters input, main .filters select, main .filters button, main input[type=search]")?.focus();
    else return;
    event.preventDefault();
  }
  window.addEventListener("keydown", onKey);
  return () => {
    clearTimeout(idle);
    window.removeEventListener("keydown", onKey);
  };
}

export function KeyDialogs() {
  if (slug.value === undefined) return null;
  const close = () => (open.value = undefined);
  if (open.value === "palette") return <Palette onClose={close} />;
  if (open.value === "more") return <More onClose={close} />;
  return open.value === "help" ? <Help onClose={close} /> : null;
}
