/** Unsaved texts, kept in the browser until they are saved or discarded. */

export interface Draft {
  readonly text: string;
  /** The state of the flow that the text began from; empty for a new flow. */
  readonly etag: string;
  readonly revision: number;
  /** When it was last changed. */
  readonly at: string;
}

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
    try {
      this.storage.setItem(PREFIX + key, JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  }

  forget(key: string): void {
    this.storage.removeItem(PREFIX + key);
  }
}
