/** What the editor of a flow does: saving, and changes of the text by the form and on the graph. */
import { signal, type Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useMemo } from "preact/hooks";
import { ApiError } from "../../api/client";
import { go, location, setQuery, to } from "../../app/router";
import { may } from "../../app/session";
import type { CodeHandle } from "../../editor/code";
import { format } from "../../editor/edits";
import { actionsOf } from "../../editor/names";
import { renameNode } from "../../editor/rename";
import type { DocumentNode } from "../../graph/document";
import { done, failed } from "../../parts/toast";
import { build } from "../../texts/build";
import { editor as texts } from "../../texts/editor";
import { flow as words } from "../../texts/flow";
import { edgesAt, isNewTrigger, lastNode, nameFor, nodeValue, withEdge, withNode, withNodeAfter, withNodeBefore, withTrigger, withoutNode, type NewTrigger } from "./build";
import { handOver } from "./handover";
import type { Language, NodeType } from "./language";
import type { FlowEditor } from "./state";

/** The dialog that is open, and what it is about. */
export type Asked =
  | { readonly kind: "run" }
  | { readonly kind: "tests" | "schedule" }
  /** What the text names and the workspace has not. */
  | { readonly kind: "secret" | "config"; readonly name: string | undefined }
  /** Args: after: The node after which one is inserted, or before it if it ends the flow; undefined for the end of the flow. */
  | { readonly kind: "insert"; readonly after?: DocumentNode }
  | { readonly kind: "connect"; readonly source: DocumentNode; readonly target: DocumentNode };

export type Code = RefObject<CodeHandle | undefined>;

export class EditorActions {
  readonly asked: Signal<Asked | undefined> = signal(undefined);
  /** The form of the selected node is shown. */
  readonly isInspecting = signal(false);

  constructor(private readonly model: FlowEditor, private readonly code: Code, private readonly language: Language) {}

  /** Save the text with what is typed in the form; return false if that was not possible. Raises: ApiError. */
  store = async (): Promise<boolean> => {
    const { model } = this;
    if (!may("editor") || model.isSaving.peek()) return false;
    if (!model.writeTyped()) throw new ApiError(0, "form", build.unwritten);
    const before = model.saved.peek()?.flow.revision;
    const { path } = location.peek();
    const now = await model.save();
    if (now === undefined) return false;
    done(before === undefined ? words.created(now.flow.name) : now.flow.revision === before ? words.unchanged : words.saved(now.flow.name, now.flow.revision));
    // The reader may have gone elsewhere meanwhile.
    if (before === undefined && location.peek().path === path) {
      handOver({ saved: now, language: this.language, text: model.text.peek(), cursor: this.code.current?.cursor() });
      // It goes on as the text of the flow, and not as the draft of a new one.
      model.text.value = now.flow.definition;
      model.keep();
      go(to(`/flows/${now.flow.id}`), { replace: true });
    }
    return true;
  };

  save = (): void => void this.store().catch(failed);

  run = (): void => {
    if (this.model.saved.peek() !== undefined && may("operator")) this.ask({ kind: "run" });
  };

  ask(asked: Asked): void {
    if (!this.model.writeTyped()) return failed(new ApiError(0, "form", build.unwritten));
    this.asked.value = asked;
  }

  close = (): void => void (this.asked.value = undefined);

  tidy = (): void => {
    this.model.writeTyped();
    const text = format(this.model.text.peek());
    if (text === null) failed(new ApiError(0, "syntax", texts.cannotFormat));
    else this.code.current?.replace(text);
  };

  /** Show the place of a node in the text. */
  reveal(node: string): void {
    const span = this.model.reading.peek()?.spans.get(node);
    if (span !== undefined) this.code.current?.reveal(span.from, false);
  }

  /** Replace the text, and read it at once. Args: text: Null if a change was not possible. */
  write = (text: string | null): boolean => {
    if (text === null) failed(new ApiError(0, "syntax", this.model.isStale.peek() ? build.broken : build.cannot));
    else this.code.current?.replace(text);
    this.model.readNow();
    return text !== null;
  };

  /** Show the node that an address names, and the line of the revision that it is about, if the text is still that one; or add the trigger that it names. */
  open(query: URLSearchParams): void {
    const added = query.get("add");
    if (isNewTrigger(added) && may("editor")) {
      // The page that is loaded again adds no other one.
      setQuery({ add: undefined });
      return added === "schedule" ? this.ask({ kind: "schedule" }) : this.addTrigger(added);
    }
    const node = query.get("node") ?? "";
    if (!this.model.reading.peek()?.spans.has(node)) return;
    this.select(node);
    const line = Number(query.get("line"));
    const isSame = !this.model.isDirty.peek() && Number(query.get("revision")) === this.model.saved.peek()?.flow.revision;
    if (isSame && line > 0) this.code.current?.reveal(offsetOf(this.model.text.peek(), line, Number(query.get("within"))), true);
  }

  addTrigger(type: NewTrigger, chosen?: object): void {
    this.close();
    const changed = withTrigger(this.model.text.peek(), type, chosen);
    if (this.write(changed?.text ?? null)) this.code.current?.reveal(changed!.at, true);
  }

  private select(node: string): void {
    this.model.selected.value = node;
    this.reveal(node);
  }

  insert(type: NodeType, after: DocumentNode | undefined): void {
    this.close();
    const { text, reading } = this.model;
    const name = nameFor(type, reading.peek());
    const beside = after ?? (reading.peek() && lastNode(reading.peek()!, this.isEnd));
    // Between two nodes that end the flow, there is no way.
    const isLoose = beside === undefined || (this.isEnd(beside) && type.actions?.length === 0);
    if (!this.write(isLoose ? withNode(text.peek(), name, type) : this.isEnd(beside) ? withNodeBefore(text.peek(), beside, name, type) : withNodeAfter(text.peek(), beside, name, type, this.typeOf(beside)))) return;
    this.select((isLoose ? "" : prefixOf(beside)) + name);
    this.isInspecting.value = true;
  }

  /** Return true if nothing can come after a node, but what handles its errors. */
  isEnd = (node: DocumentNode): boolean => this.typeOf(node)?.actions?.length === 0;

  private typeOf(node: DocumentNode): NodeType | undefined {
    return this.language.types.find(({ name }) => name === node.type);
  }

  rename(node: DocumentNode, name: string): void {
    if (this.write(renameNode(this.model.text.peek(), node.keys, name))) this.select(prefixOf(node) + name);
  }

  remove(node: DocumentNode): void {
    if (!this.write(withoutNode(this.model.text.peek(), node, this.typeOf(node)))) return;
    // Where a key takes it back.
    this.code.current?.focus();
    done(build.removed(node.label));
  }

  nodeAt(id: string | undefined): DocumentNode | undefined {
    return id === undefined ? undefined : this.model.reading.peek()?.graph.nodes.find((each) => each.id === id);
  }

  /** Lead from a node to another one: by its default action, or by one that is asked for. */
  connect = (source: string, target: string): void => {
    const [from, to] = [this.nodeAt(source), this.nodeAt(target)];
    if (from === undefined || to === undefined || from.parent !== to.parent || from.branch !== to.branch) return;
    const isFirst = edgesAt(this.model.reading.peek()!, from).length === 0 && this.freeActions(from).some(({ name }) => name === "default");
    if (isFirst) this.write(withEdge(this.model.text.peek(), from, "default", to.label));
    else this.ask({ kind: "connect", source: from, target: to });
  };

  addEdge(source: DocumentNode, action: string, target: DocumentNode): void {
    this.close();
    this.write(withEdge(this.model.text.peek(), source, action, target.label));
  }

  freeActions(node: DocumentNode) {
    return actionsOf(nodeValue(this.model.reading.peek()!, node), this.language.known);
  }
}

/** The actions of one editor, the same ones as long as it is shown. */
export function useEditorActions(model: FlowEditor, code: Code, language: Language): EditorActions {
  return useMemo(() => new EditorActions(model, code, language), []);
}

/** Return where a line begins. Args: within: The line of the script that is the value there, from 1; 0 for the value itself. */
function offsetOf(text: string, line: number, within: number): number {
  const lines = text.split("\n");
  // A block begins below its key.
  const isBlock = /[|>][-+\d]*\s*(#.*)?$/.test(lines[line - 1] ?? "");
  const at = within === 0 ? line : isBlock ? line + within : line + within - 1;
  const before = lines.slice(0, Math.min(at, lines.length) - 1);
  const indent = /^ */.exec(lines[before.length] ?? "")?.[0].length ?? 0;
  return before.reduce((sum, each) => sum + each.length + 1, 0) + indent;
}

/** Return what is before the name of a node in its path. */
function prefixOf({ id, label }: DocumentNode): string {
  return id.slice(0, id.length - label.length);
}
