/** The lines of a log that fit a filter, in pages that are loaded when they come into sight. */
import { api, type Schemas } from "../api/client";

export type Line = Schemas["LogAnswer"];
export const PAGE = 200;

/** What the lines are filtered by; it is in the address. */
export interface Filter {
  level: string;
  node: string;
  /** The full name of a step, whose lines and those of the steps inside it are shown. */
  step: string;
  /** The number of an attempt; "" for all. */
  attempt: string;
  text: string;
}

export function queryOf({ level, node, step, attempt, text }: Filter) {
  return { min_level: (level || undefined) as Line["level"] | undefined, node: node || undefined, step: step || undefined, attempt: attempt === "" ? undefined : Number(attempt), q: text || undefined };
}

type Load = (offset: number) => Promise<{ logs: Line[]; total?: number }>;

/** Return how a page of the log of an execution is loaded. */
function loading(id: string, filter: Filter): Load {
  return (offset) => api.get("/api/v1/executions/{id}/logs", { path: { id }, query: { ...queryOf(filter), limit: PAGE, offset } });
}

export class Lines {
  total: number | undefined;
  /** Why the last load failed; what was loaded before stays. */
  error: unknown;
  private readonly pages = new Map<number, Line[]>();
  private readonly loading = new Set<number>();
  private readonly listeners = new Set<() => void>();
  private readonly page: Load;

  constructor(id: string, filter: Filter, page: Load = loading(id, filter)) {
    this.page = page;
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  at(index: number): Line | undefined {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Load the last page, which may have grown. */
  async renew(): Promise<void> {
    await this.load(Math.floor(Math.max(0, (this.total ?? 0) - 1) / PAGE));
  }

  /** Load the pages of some lines that are not there, or that have grown since. Nothing is loaded after an error, until `renew`. */
  need(from: number, to: number): void {
    for (let page = Math.floor(from / PAGE); page <= Math.floor(to / PAGE); page++) {
      const expected = Math.min(PAGE, (this.total ?? 0) - page * PAGE);
      if (this.error === undefined && !this.loading.has(page) && (this.pages.get(page)?.length ?? -1) < expected) void this.load(page);
    }
  }

  private async load(page: number): Promise<void> {
    this.loading.add(page);
    try {
      const found = await this.page(page * PAGE);
      this.pages.set(page, found.logs);
      // Answers may come in another order than they were asked for.
      this.total = Math.max(this.total ?? 0, found.total ?? 0);
      this.error = undefined;
    } catch (error) {
      this.error = error;
    } finally {
      this.loading.delete(page);
    }
    for (const listener of this.listeners) listener();
  }
}
