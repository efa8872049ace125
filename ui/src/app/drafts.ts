/**
 * Unsaved texts, kept in the browser until they are saved or discarded.
 *
 * Two tabs that edit one flow have a draft each, so that neither overwrites the other's. A draft whose tab was closed
 * goes to the next one in which the flow is edited.
 */

import { uniqueName } from "./unique";

export interface Draft {
  readonly text: string;
  /** The state of the flow that the text began from; empty for a new flow. */
  readonly etag: string;
  readonly revision: number;
  /** When it was last changed. */
  readonly at: string;
}

/** What keeps the drafts of open editors as they are now, instead of a moment after the last key. */
export const keepers = new Set<() => void>();

let isOver = false;
const PREFIX = "flowrunner.draft.";
const TAB = "flowrunner.tab";

/** Return the name of this tab, which it keeps when it is loaded again. */
export function nameOfTab(page: Pick<Window, "sessionStorage" | "addEventListener">): string {
  const name = page.sessionStorage.getItem(TAB) ?? uniqueName();
  // Stored only between two pages: a tab that is a copy of this one gets a name of its own.
  page.addEventListener("pageshow", () => page.sessionStorage.removeItem(TAB));
  page.addEventListener("pagehide", () => page.sessionStorage.setItem(TAB, name));
  return name;
}

export class Drafts {
  constructor(private readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem">, private readonly tab: string) {}

  /** Return the draft of this tab, else the newest of another one, which becomes that of this tab. */
  load(key: string): Draft | undefined {
    const own = this.read(this.own(key));
    if (own !== undefined) return own;
    const others = this.keys(key).flatMap((name) => ({ name, draft: this.read(name)! })).filter(({ draft }) => draft !== undefined);
    const newest = others.sort((a, b) => b.draft.at.localeCompare(a.draft.at))[0];
    if (newest === undefined) return undefined;
    // Another tab that still has the text keeps it again when it is left.
    this.storage.removeItem(PREFIX + newest.name);
    this.keep(key, newest.draft);
    return newest.draft;
  }

  private own(key: string): string {
    return `${key}.${this.tab}`;
  }

  private read(name: string): Draft | undefined {
    try {
      const draft = JSON.parse(this.storage.getItem(PREFIX + name) ?? "null") as Draft | null;
      return typeof draft?.text === "string" && typeof draft.etag === "string" && typeof draft.at === "string" ? draft : undefined;
    } catch {
      return undefined;
    }
  }

  /** Return false if there is no room for it: then only a question protects the text when the page is left. */
  keep(key: string, draft: Draft): boolean {
    if (isOver) return true;
    try {
      this.storage.setItem(PREFIX + this.own(key), JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  }

  /** Delete the drafts whose keys begin so; open editors keep nothing from here on. */
  forgetAll(start: string): void {
    isOver = true;
    for (const name of this.keys(start)) this.storage.removeItem(PREFIX + name);
  }

  /** The names of drafts that begin so, of all tabs. */
  keys(start: string): string[] {
    return Object.keys(this.storage).filter((key) => key.startsWith(PREFIX + start)).map((key) => key.slice(PREFIX.length));
  }

  /** Delete the draft of this tab. */
  forget(key: string): void {
    this.storage.removeItem(PREFIX + this.own(key));
  }
}

export const drafts = new Drafts(globalThis.localStorage, typeof window === "undefined" ? "" : nameOfTab(window));
