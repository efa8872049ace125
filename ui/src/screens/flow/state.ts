/** The text of a flow while it is edited: its graph, its faults, its draft, and how it is saved. */
import { computed, effect, signal } from "@preact/signals";
import { api, ApiError, etagOf, request } from "../../api/client";
import { placeFaults, type Fault } from "../../editor/faults";
import { wholeOf } from "../../graph/document";
import { EMPTY, type Graph } from "../../graph/model";
import type { Mark } from "../../graph/view";
import { drafts, keepers, type Draft } from "../../app/drafts";
import { nodeAt, nodeOfPath, readFlow, type Reading } from "./places";
import { loadFlow, type Saved } from "./saved";
import { Trial } from "./trial-state";

/** The same each time, so that nothing is drawn again. */
const NO_MARKS: ReadonlyMap<string, Mark> = new Map();
const RELAYOUT_MS = 120;
const CHECK_MS = 350;
/** Until a text is sent again that the server could not check. */
const CHECK_AGAIN_MS = 5000;
const KEEP_MS = 600;

export interface Conflict {
  /** The text that the draft began from; undefined if that revision is gone. */
  readonly base: string | undefined;
  readonly theirs: Saved;
}

export class FlowEditor {
  readonly saved = signal<Saved | undefined>(undefined);
  readonly text = signal("");
  readonly reading = signal<Reading | undefined>(undefined);
  /** The text has syntax errors, and the graph is the last one that could be read. */
  readonly isStale = signal(false);
  readonly faults = signal<readonly Fault[]>([]);
  readonly check = signal<"checked" | "checking" | "failed">("checking");
  readonly selected = signal<string | undefined>(undefined);
  readonly restored = signal<Draft | undefined>(undefined);
  readonly conflict = signal<Conflict | undefined>(undefined);
  readonly isSaving = signal(false);
  readonly isKept = signal(true);

  /** Fields of the form whose values are typed and not yet in the text, by key; each writes its value, or returns false. */
  private readonly typed = signal<ReadonlyMap<string, () => boolean>>(new Map());

  readonly isDirty = computed(() => this.typed.value.size > 0 || this.text.value !== (this.saved.value?.flow.definition ?? this.initial));
  private readonly ofText = computed(() => this.reading.value?.graph);
  readonly graph = computed<Graph>(() => (this.ofText.value === undefined ? EMPTY : wholeOf(this.ofText.value)));
  readonly marks = computed(() => this.marksOf());

  private readonly trials = new Map<string, Trial>();
  private etag = "";
  private revision = 0;
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>();
  private checks: AbortController | undefined;
  private readonly stop: () => void;

  /** Args: key: Names the draft. saved: The flow; undefined for a new one. initial: The text of a new one. */
  constructor(
    private readonly key: string,
    saved: Saved | undefined,
    private readonly initial = "",
  ) {
    this.saved.value = saved;
    this.etag = saved?.etag ?? "";
    this.revision = saved?.flow.revision ?? 0;
    this.text.value = saved?.flow.definition ?? initial;
    const draft = drafts.load(key);
    if (draft !== undefined && draft.text !== this.text.value) {
      this.text.value = draft.text;
      this.etag = draft.etag;
      this.revision = draft.revision;
      this.restored.value = draft;
    }
    this.read();
    void this.validate();
    keepers.add(this.keepNow);
    let isFirst = true;
    this.stop = effect(() => {
      void this.text.value;
      if (isFirst) isFirst = false;
      else this.changed();
    });
  }

  private readonly keepNow = (): void => {
    this.writeTyped();
    this.keep();
  };

  /** Note what is typed in a field of the form. Args: write: Writes it into the text; undefined once it is there. */
  note(field: string, write: (() => boolean) | undefined): void {
    const next = new Map(this.typed.peek());
    if (write !== undefined) next.set(field, write);
    else if (!next.delete(field)) return;
    this.typed.value = next;
  }

  /** Write what is typed in the form into the text; return false if a part of it is not a value. */
  writeTyped(): boolean {
    return [...this.typed.peek().values()].map((write) => write()).every(Boolean);
  }

  /** The trial of a node, which outlives its panel. */
  trialOf(node: string): Trial {
    let found = this.trials.get(node);
    if (found === undefined) this.trials.set(node, (found = new Trial()));
    return found;
  }

  dispose(): void {
    keepers.delete(this.keepNow);
    this.stop();
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.checks?.abort();
    if (this.isDirty.peek()) this.keep();
  }

  private changed(): void {
    this.check.value = "checking";
    this.later("read", RELAYOUT_MS, () => this.read());
    this.later("check", CHECK_MS, () => void this.validate());
    this.later("keep", KEEP_MS, () => this.keep());
  }

  private later(name: string, delay: number, run: () => void): void {
    clearTimeout(this.timers.get(name));
    this.timers.set(name, setTimeout(run, delay));
  }

  /** Show the graph of the text at once: a change by the form or on the graph is complete. */
  readNow(): void {
    clearTimeout(this.timers.get("read"));
    this.read();
  }

  private read(): void {
    const reading = readFlow(this.text.peek());
    const before = this.reading.peek();
    // Half a text often has fewer nodes: the last good graph stays until it can be read again.
    if (reading === null || (reading.hasErrors && before !== undefined)) {
      this.isStale.value = before !== undefined;
      return;
    }
    this.isStale.value = reading.hasErrors;
    // The same graph keeps its picture: most changes are within the params of a node.
    const isSame = before !== undefined && JSON.stringify(before.graph) === JSON.stringify(reading.graph);
    // Of a part that is removed, the agent stays chosen, and its form open.
    const part = before?.graph.parts.find(({ id }) => id === this.selected.peek());
    if (part !== undefined && !reading.graph.parts.some(({ id }) => id === part.id)) this.selected.value = part.parent ?? undefined;
    this.reading.value = isSame ? { ...reading, graph: before.graph } : reading;
  }

  async validate(): Promise<void> {
    this.checks?.abort();
    const checks = (this.checks = new AbortController());
    const text = this.text.peek();
    try {
      const found = await api.post("/api/v1/flows/validate", { body: { definition: text }, signal: checks.signal });
      if (checks.signal.aborted) return;
      const faults = [...placeFaults(text, found.errors, false), ...placeFaults(text, found.warnings, true)];
      this.faults.value = faults.sort((a, b) => Number(a.isWarning) - Number(b.isWarning) || a.from - b.from);
      this.check.value = "checked";
    } catch (error) {
      if (checks.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.check.value = "failed";
      if (error.passes) this.later("check", Math.max(CHECK_AGAIN_MS, (error.retryAfter ?? 0) * 1000), () => void this.validate());
    }
  }

  private marksOf(): ReadonlyMap<string, Mark> {
    const marks = new Map<string, Mark>();
    const graph = this.reading.value?.graph;
    if (graph === undefined || this.faults.value.length === 0) return NO_MARKS;
    for (const fault of this.faults.value) {
      const node = fault.isWarning ? undefined : nodeOfPath(graph, fault.path);
      if (node !== undefined) marks.set(node.id, "fault");
    }
    return marks;
  }

  /** Select the node in which the cursor stands. */
  cursorMoved(offset: number): void {
    const reading = this.reading.peek();
    const node = reading && !this.isStale.peek() ? nodeAt(reading, offset) : undefined;
    if (node !== undefined) this.selected.value = node.id;
  }

  /** Keep the draft as it is now. */
  keep(): void {
    if (!this.isDirty.peek()) return drafts.forget(this.key);
    this.isKept.value = drafts.keep(this.key, { text: this.text.peek(), etag: this.etag, revision: this.revision, at: new Date().toISOString() });
  }

  discard(): void {
    const saved = this.saved.peek();
    this.text.value = saved?.flow.definition ?? this.initial;
    this.etag = saved?.etag ?? "";
    this.revision = saved?.flow.revision ?? 0;
    this.restored.value = undefined;
    drafts.forget(this.key);
  }

  /** Save the text; return the saved flow, or undefined if somebody else has saved it in the meantime. */
  async save(): Promise<Saved | undefined> {
    const before = this.saved.peek();
    const text = this.text.peek();
    this.isSaving.value = true;
    try {
      const { data, headers } =
        before === undefined
          ? await request("post", "/api/v1/flows", { body: { definition: text } })
          : await request("put", "/api/v1/flows/{id}", { path: { id: before.flow.id }, body: { definition: text }, headers: { "If-Match": this.etag } });
      this.take({ flow: { ...data, definition: text }, etag: etagOf(headers) });
      return this.saved.peek();
    } catch (error) {
      if (before !== undefined && error instanceof ApiError && error.status === 412) {
        this.conflict.value = await this.conflictWith(before.flow.id);
        return undefined;
      }
      if (error instanceof ApiError && error.details.errors !== undefined) {
        this.faults.value = placeFaults(text, error.details.errors, false);
      }
      throw error;
    } finally {
      this.isSaving.value = false;
    }
  }

  private take(saved: Saved): void {
    this.saved.value = saved;
    this.etag = saved.etag;
    this.revision = saved.flow.revision;
    this.restored.value = undefined;
    // What was typed while it was saved stays kept.
    this.keep();
  }

  private async conflictWith(id: string): Promise<Conflict> {
    const theirs = await loadFlow(id);
    try {
      const base = await api.get("/api/v1/flows/{id}/revisions/{number}", { path: { id, number: this.revision } });
      return { base: base.definition, theirs };
    } catch {
      return { base: undefined, theirs };
    }
  }

  /** Go on with a text that takes the other version into account; the next save replaces that version. */
  resolve(text: string): void {
    const conflict = this.conflict.peek();
    if (conflict === undefined) return;
    this.saved.value = conflict.theirs;
    this.etag = conflict.theirs.etag;
    this.revision = conflict.theirs.flow.revision;
    this.text.value = text;
    this.conflict.value = undefined;
    this.keep();
  }
}
