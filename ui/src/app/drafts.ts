/** Unsaved texts, kept in the browser until they are saved or discarded. */

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

export class Drafts {
  constructor(private readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem">) {}

  load(key: string): Draft | undefined {
    try {
      const draft = JSON.parse(this.storage.getItem(PREFIX + key) ?? "null") as Draft | null;
      return typeof draft?.text === "string" && typeof draft.etag === "string" ? draft : undefined;
    } catch {
      return undefined;
    }
  }

  /** Return false if there is no room for it: then only a question protects the text when the page is left. */
  keep(key: string, draft: Draft): boolean {
    if (isOver) return true;
    try {
      this.storage.setItem(PREFIX + key, JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  }

  /** Delete the drafts whose keys begin so; open editors keep nothing from here on. */
  forgetAll(start: string): void {
    isOver = true;
    for (const key of this.keys(start)) this.forget(key);
  }

  /** The keys of drafts that begin so. */
  keys(start: string): string[] {
    return Object.keys(this.storage).filter((key) => key.startsWith(PREFIX + start)).map((key) => key.slice(PREFIX.length));
  }

  forget(key: string): void {
    this.storage.removeItem(PREFIX + key);
  }
}
