/** The address bar as state: the screen of a path, and its query as values that survive a reload. */
import { computed, signal } from "@preact/signals";
import type { ComponentType } from "preact";

export type Parameters = Record<string, string>;
export interface Route {
  /** Segments; `:name` is a parameter. */
  path: string;
  load: () => Promise<{ default: ComponentType<{ parameters: Parameters }> }>;
}

export interface Location {
  path: string;
  query: URLSearchParams;
}

function here(): Location {
  return { path: window.location.pathname, query: new URLSearchParams(window.location.search) };
}

export const location = signal<Location>(typeof window === "undefined" ? { path: "/", query: new URLSearchParams() } : here());

/** The slug in the address; undefined outside `/w/{slug}/`. */
export const slug = computed<string | undefined>(() => {
  const found = /^\/w\/([^/]+)/.exec(location.value.path)?.[1];
  return found === undefined ? undefined : decoded(found);
});

/** Return the text of a segment; as it is, if it is no valid encoding. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/**
 * Return how addresses name a workspace: by its slug; a personal one, whose slug is its long id, by the end of that.
 * It is the same for everybody in the workspace, and `~` is in no slug.
 */
export function segmentOf({ id, slug: name }: { id: string; slug: string }): string {
  return name === id ? `~${id.slice(-8)}` : name;
}

/** Return the address of the first screen of a workspace. */
export function homeOf(workspace: { id: string; slug: string }): string {
  return `/w/${encodeURIComponent(segmentOf(workspace))}`;
}

/** Return the address if it is within ``origin``, and that of the first screen otherwise. */
export function within(origin: string, address: string | null): string {
  const target = URL.canParse(address ?? "/", origin) ? new URL(address ?? "/", origin) : undefined;
  // A path such as `//host` would lead to another origin.
  return target?.origin === origin ? target.pathname.replace(/^\/+/, "/") + target.search + target.hash : "/";
}

/** Return the address of a screen in the current workspace: `to("/flows")`. */
export function to(path: string, query?: Record<string, string | undefined>): string {
  return withQuery(`/w/${encodeURIComponent(slug.value ?? "")}${path}`, query);
}

export function withQuery(path: string, query: Record<string, string | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") search.set(name, value);
  const text = search.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** Reasons not to leave the screen, such as unsaved text; each returns true if it may be left. */
const guards = new Set<() => boolean>();
export function guard(mayLeave: () => boolean): () => void {
  guards.add(mayLeave);
  return () => guards.delete(mayLeave);
}

/** The number of the entry of the history that is shown, and where the entries of this page were scrolled to. */
let at = 0;
const places = new Map<number, number>();

/** What screens keep for when the reader comes back to an entry of the history, by its number. */
const kept = new Map<number, Map<string, unknown>>();
/** Entries for which something is kept. */
const MOST_KEPT = 20;

/** Return what was kept under a name for the entry that is shown; undefined if nothing was. */
export function keptInEntry<T>(name: string): T | undefined {
  return kept.get(at)?.get(name) as T | undefined;
}

/** Keep something for the entry that is shown. */
export function keepInEntry(name: string, value: unknown): void {
  const values = kept.get(at) ?? new Map<string, unknown>();
  kept.delete(at);
  kept.set(at, values.set(name, value));
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value!);
}

/** Milliseconds in which a screen loads what was scrolled to. */
const SETTLING = 3000;

/** What the reader does to be somewhere else than where an entry was left. */
const OWN_MOVES = ["wheel", "touchmove", "keydown", "pointerdown", "popstate"];
let stopSettling: (() => void) | undefined;

/** Scroll to where an entry of the history was left, and stay there while the screen loads, unless the reader moves first. */
function comeBack(place: number): void {
  let isThere = false;
  const scroll = () => {
    // What loads above later would otherwise move the rows away.
    if (!isThere && document.documentElement.scrollHeight < place + window.innerHeight) return;
    isThere = true;
    window.scrollTo(0, place);
  };
  const observer = new ResizeObserver(scroll);
  const timer = setTimeout(() => {
    stop();
    if (!isThere) window.scrollTo(0, place);
  }, SETTLING);
  const stop = () => {
    clearTimeout(timer);
    observer.disconnect();
    for (const name of OWN_MOVES) window.removeEventListener(name, stop);
  };
  stopSettling = stop;
  for (const name of OWN_MOVES) window.addEventListener(name, stop, { passive: true });
  observer.observe(document.body);
  const content = document.getElementById("content");
  if (content !== null) observer.observe(content);
}

/** Follow the browser's buttons, unless there is a reason to stay. */
function travel(): void {
  const next = (window.history.state as { at?: number } | null)?.at ?? 0;
  const isSameScreen = window.location.pathname === location.peek().path;
  if (isReturning) {
    isReturning = false;
    return;
  }
  if (!isSameScreen && next !== at && ![...guards].every((mayLeave) => mayLeave())) {
    isReturning = true;
    window.history.go(at - next);
    return;
  }
  forget();
  places.set(at, window.scrollY);
  at = next;
  location.value = here();
  if (!isSameScreen) comeBack(places.get(next) ?? 0);
}

/** The browser has left an entry that must stay, and is on its way back to it. */
let isReturning = false;

export function go(address: string, options: { replace?: boolean } = {}): void {
  const target = new URL(address, window.location.href);
  const isSameScreen = target.pathname === location.peek().path;
  if (!isSameScreen && ![...guards].every((mayLeave) => mayLeave())) return;
  if (!options.replace) places.set(at, window.scrollY);
  write(target, owed ?? (options.replace ? "replaceState" : "pushState"));
  // What is shown does not wait for the address.
  location.value = { path: target.pathname, query: target.searchParams };
  if (!isSameScreen) {
    stopSettling?.();
    window.scrollTo(0, 0);
  }
}

/** Milliseconds after which an address that the browser did not take is written again. */
const REST = 1000;
/** How the address of what is shown must still be written; undefined if the browser has it. */
let owed: "pushState" | "replaceState" | undefined;
let rewriting: ReturnType<typeof setTimeout> | undefined;

/** Write an address into the history, now or when the browser takes it: it takes only so many in a time. */
function write(target: URL, how: "pushState" | "replaceState"): void {
  forget();
  const next = how === "pushState" ? at + 1 : at;
  try {
    window.history[how]({ at: next }, "", target);
  } catch (error) {
    // As Safari refuses the hundredth in half a minute. Chromium leaves out some in silence.
    if (!(error instanceof DOMException && error.name === "SecurityError")) throw error;
  }
  if (window.location.href === target.href && (window.history.state as { at?: number } | null)?.at === next) {
    // That of an entry that was gone back from.
    if (next !== at) kept.delete(next);
    at = next;
  } else {
    owed = how;
    rewriting = setTimeout(() => write(target, how), REST);
  }
}

/** Write no earlier address again. */
function forget(): void {
  clearTimeout(rewriting);
  owed = undefined;
}

/** Change some values of the query, without a new entry in the history. Undefined removes one. */
export function setQuery(values: Record<string, string | undefined>): void {
  const query = Object.fromEntries(location.peek().query);
  go(withQuery(location.peek().path, { ...query, ...values }), { replace: true });
}

/** Return the parameters if the path fits the pattern, and undefined otherwise. */
export function match(pattern: string, path: string): Parameters | undefined {
  const expected = pattern.split("/");
  const given = path.replace(/\/+$/, "").split("/");
  if (expected.length !== given.length) return undefined;
  const found: Parameters = {};
  for (const [i, part] of expected.entries()) {
    const value = given[i] ?? "";
    if (part.startsWith(":")) found[part.slice(1)] = decoded(value);
    else if (part !== value) return undefined;
  }
  return found;
}

/** What a click belongs to, instead of the row around it. */
const CONTROLS = "a, button, input, select, textarea, label, summary, [role=button]";

/** Return the link that a row of a list leads to, if a click in it belongs to no control and marks no text. */
function linkOfRow(event: MouseEvent): HTMLAnchorElement | undefined {
  const target = event.target as Element | null;
  const cell = target?.closest?.("td");
  if (event.defaultPrevented || event.shiftKey || event.altKey || !cell || target!.closest(CONTROLS) !== null || window.getSelection()?.isCollapsed === false) return undefined;
  // Beside a control, its cell is easily meant.
  if (cell.querySelector("button, input, select") !== null) return undefined;
  return cell.closest("tr")?.querySelector<HTMLAnchorElement>("a[data-nav]") ?? undefined;
}

/** Open what a row leads to, as its link does: in a tab of its own with the middle button, or with Ctrl or ⌘. */
function openRow(event: MouseEvent): void {
  const link = event.button > 1 ? undefined : linkOfRow(event);
  if (link === undefined) return;
  event.preventDefault();
  if (event.button === 1 || event.metaKey || event.ctrlKey) window.open(link.href, "_blank", "noopener");
  else go(link.href);
}

/** Follow the links of the page without loading it again. */
export function listen(): void {
  at = (window.history.state as { at?: number } | null)?.at ?? 0;
  window.addEventListener("popstate", travel);
  document.addEventListener("click", openRow);
  document.addEventListener("auxclick", openRow);
  // The middle button would begin to scroll.
  document.addEventListener("mousedown", (event) => event.button === 1 && linkOfRow(event) !== undefined && event.preventDefault());
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.target !== "" || link.hasAttribute("download") || link.origin !== window.location.origin) return;
    if (link.hash !== "" && link.pathname === window.location.pathname && link.search === window.location.search) return;
    if (/^\/(api|sign-on)\//.test(link.pathname) || link.pathname === "/docs") return;
    event.preventDefault();
    go(link.href);
  });
}
