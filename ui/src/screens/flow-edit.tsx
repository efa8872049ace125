/** A flow as text beside its graph, with its problems below. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { ApiError } from "../api/client";
import { go, guard, to, type Parameters } from "../app/router";
import { NotFound } from "../app/not-found";
import { Head } from "../app/shell";
import { account, may, workspace } from "../app/session";
import { Code, type CodeHandle } from "../editor/code";
import { complete } from "../editor/complete";
import { applyChange, format } from "../editor/edits";
import { renameNode } from "../editor/rename";
import { hoverOrWordsAt } from "../editor/hover";
import { GraphView } from "../graph/view";
import { moment, now } from "../parts/format";
import { Failure, Skeleton } from "../parts/parts";
import { done, failed } from "../parts/toast";
import { editor as texts } from "../texts/editor";
import { flow as words } from "../texts/flow";
import { actionsOf } from "../editor/names";
import { isMap, type DocumentNode } from "../graph/document";
import { Icon } from "../parts/icons";
import { build } from "../texts/build";
import { edgesAt, nameFor, nodeValue, withEdge, withNode, withNodeAfter, withoutNode } from "./flow/build";
import { ConflictDialog } from "./flow/conflict";
import { ConnectDialog } from "./flow/connect";
import { FlowHead } from "./flow/head";
import { Inspector } from "./flow/inspector";
import { loadLanguage, type Language, type NodeType } from "./flow/language";
import { Palette } from "./flow/palette";
import { Problems } from "./flow/problems";
import { RunDialog } from "./flow/run";
import { FlowEditor, loadFlow, type Saved } from "./flow/state";
import { TestsDialog } from "./flow/tests";

export default function FlowEdit({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const loaded = useSignal<{ saved: Saved; language: Language } | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const attempts = useSignal(0);
  useEffect(() => {
    const abort = new AbortController();
    Promise.all([loadFlow(id, abort.signal), loadLanguage(workspace.peek()?.id ?? "")]).then(
      ([saved, language]) => {
        loaded.value = { saved, language };
        error.value = undefined;
      },
      (reason: unknown) => {
        if (!abort.signal.aborted) error.value = reason;
      },
    );
    return () => abort.abort();
  }, [id, attempts.value]);
  if (error.value instanceof ApiError && error.value.status === 404) return <NotFound />;
  if (error.value !== undefined) return <><FlowHead id={id} name=" " /><div class="content"><Failure error={error.value} retry={() => attempts.value++} /></div></>;
  if (loaded.value === undefined) return <><FlowHead id={id} name=" " /><div class="content"><Skeleton rows={10} /></div></>;
  return <Editor key={id} {...loaded.value} />;
}

export function Editor({ saved, language, initial }: { saved?: Saved; language: Language; initial?: string }) {
  const id = saved?.flow.id;
  const model = useMemo(() => new FlowEditor(`${account.peek()?.id}.${workspace.peek()?.id}.${id ?? "new"}`, saved, initial), []);
  const code = useRef<CodeHandle | undefined>(undefined);
  const isRunning = useSignal(false);
  const isTesting = useSignal(false);
  const opened = useSignal(false);
  /** The node after which one is to be inserted; null for one that nothing leads to. */
  const inserting = useSignal<DocumentNode | null | undefined>(undefined);
  const connecting = useSignal<{ source: DocumentNode; target: DocumentNode } | undefined>(undefined);
  const mayEdit = may("editor");

  useEffect(() => () => model.dispose(), []);
  useEffect(() => {
    const before = (event: BeforeUnloadEvent) => {
      if (!model.isDirty.peek()) return;
      model.keep();
      event.preventDefault();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey) || event.defaultPrevented) return;
      event.preventDefault();
      void save();
    };
    window.addEventListener("beforeunload", before);
    window.addEventListener("keydown", onKey);
    const release = guard(() => {
      // A draft that is kept is there again when the reader comes back: only a text without one needs a question.
      if (model.isDirty.peek()) model.keep();
      return !model.isDirty.peek() || model.isKept.peek() || window.confirm(words.leave);
    });
    return () => {
      window.removeEventListener("beforeunload", before);
      window.removeEventListener("keydown", onKey);
      release();
    };
  }, []);

  async function save(): Promise<boolean> {
    if (!mayEdit || model.isSaving.peek()) return false;
    const isNew = model.saved.peek() === undefined;
    const before = model.saved.peek()?.flow.revision;
    try {
      const now = await model.save();
      if (now === undefined) return false;
      done(isNew ? words.created(now.flow.name) : now.flow.revision === before ? words.unchanged : words.saved(now.flow.name, now.flow.revision));
      if (isNew) go(to(`/flows/${now.flow.id}`), { replace: true });
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      failed(error);
      return false;
    }
  }

  function reveal(offset: number, focus: boolean): void {
    code.current?.reveal(offset, focus);
  }

  function selectNode(node: string): void {
    const span = model.reading.peek()?.spans.get(node);
    if (span !== undefined) reveal(span.from, false);
  }

  function tidy(): void {
    const text = format(model.text.peek());
    if (text === null) failed(new ApiError(0, "syntax", texts.cannotFormat));
    else code.current?.replace(text);
  }

  const nodeOf = (id: string) => model.reading.peek()?.graph.nodes.find((each) => each.id === id);

  function write(text: string | null): void {
    if (text === null) failed(new ApiError(0, "syntax", model.isStale.peek() ? build.broken : build.cannot));
    else code.current?.replace(text);
  }

  function insert(type: NodeType): void {
    const after = inserting.peek();
    inserting.value = undefined;
    const name = nameFor(type, model.reading.peek());
    const text = after ? withNodeAfter(model.text.peek(), after, name, type) : withNode(model.text.peek(), name, type);
    write(text);
    if (text === null) return;
    const prefix = after ? after.id.slice(0, after.id.length - after.label.length) : "";
    model.readNow();
    model.selected.value = prefix + name;
    selectNode(prefix + name);
    opened.value = true;
  }

  function rename(node: DocumentNode, name: string): void {
    const text = renameNode(model.text.peek(), node.keys, name);
    write(text);
    if (text === null) return;
    model.readNow();
    const id = node.id.slice(0, node.id.length - node.label.length) + name;
    model.selected.value = id;
    selectNode(id);
  }

  function remove(node: DocumentNode): void {
    const text = withoutNode(model.text.peek(), node);
    write(text);
    if (text === null) return;
    model.readNow();
    // Where a key takes it back.
    code.current?.focus();
    done(build.removed(node.label));
  }

  function connectTo(source: string, target: string): void {
    const [from, to] = [nodeOf(source), nodeOf(target)];
    if (from === undefined || to === undefined || from.parent !== to.parent || from.branch !== to.branch) return;
    if (edgesAt(model.reading.peek()!, from).length === 0 && freeActions(from).some(({ name }) => name === "default")) write(withEdge(model.text.peek(), from, "default", to.label));
    else connecting.value = { source: from, target: to };
  }

  function freeActions(node: DocumentNode) {
    return actionsOf(nodeValue(model.reading.peek()!, node), language.known);
  }

  const selected = model.selected.value === undefined ? undefined : model.reading.value?.graph.nodes.find(({ id }) => id === model.selected.value);
  const flow = model.saved.value?.flow;
  const hasTests = isMap(model.reading.value?.value) && "tests" in model.reading.value.value;
  const beside = <FlowMarks model={model} />;
  const actions = (
    <>
      {mayEdit && <button class="btn quiet" onClick={tidy}>{texts.format}</button>}
      {hasTests && <button class="btn quiet" onClick={() => (isTesting.value = true)}>{texts.test}</button>}
      {mayEdit && <button class="btn" disabled={(flow !== undefined && !model.isDirty.value) || model.isSaving.value} onClick={() => void save()}>{texts.save}</button>}
      {flow !== undefined && may("operator") && <button class="btn primary" onClick={() => (isRunning.value = true)}>{texts.run}</button>}
    </>
  );
  return (
    <div class="edit">
      {flow === undefined ? <Head title={words.newFlow} crumbs={<a href={to("/flows")}>{words.flows}</a>} beside={beside} actions={actions} /> : <FlowHead id={flow.id} name={flow.name} beside={beside} actions={actions} />}
      {model.restored.value !== undefined && (
        <div class="note-bar" role="status">
          {texts.draftRestored(moment(model.restored.value.at, now.value))}
          <button class="btn" onClick={() => { model.discard(); code.current?.replace(model.text.peek()); }}>{texts.discard}</button>
        </div>
      )}
      {!model.isKept.value && <div class="note-bar" role="status">{words.notKept}</div>}
      <div class="edit-panes">
        <Code
          initial={model.text.peek()}
          isReadOnly={!mayEdit}
          faults={model.faults.value}
          onChange={(text) => (model.text.value = text)}
          onCursor={(offset) => model.cursorMoved(offset)}
          complete={(text, offset) => complete(text, offset, language.schema, language.known)}
          describe={(text, offset) => hoverOrWordsAt(text, offset, language.schema)}
          onSave={() => void save()}
          onRun={flow === undefined ? undefined : () => (isRunning.value = true)}
          onReady={(handle) => {
            code.current = handle;
            // A new flow begins with its name.
            if (flow === undefined) handle.reveal(endOf(/name: ?[\w-]*/, model.text.peek()), true);
          }}
        />
        <section class="edit-graph" aria-label={words.panes}>
          {model.isStale.value && <p class="stale" role="status">{texts.stale}</p>}
          <GraphView graph={model.graph.value} selected={model.selected} marks={model.marks.value} onSelect={(node) => { selectNode(node); opened.value = true; }} onInsertAfter={mayEdit ? (node) => (inserting.value = nodeOf(node)) : undefined} onConnect={mayEdit ? connectTo : undefined} />
          {mayEdit && <button class="btn add-node" onClick={() => (inserting.value = null)}><Icon name="plus" />{build.add}</button>}
          {opened.value && selected !== undefined && (
            <Inspector
              key={selected.id}
              model={model}
              language={language}
              node={selected}
              isReadOnly={!mayEdit}
              write={(text) => { write(text); model.readNow(); }}
              onInsertAfter={() => (inserting.value = selected)}
              onRename={(name) => rename(selected, name)}
              onRemove={() => remove(selected)}
              onClose={() => (opened.value = false)}
            />
          )}
        </section>
      </div>
      <Problems
        faults={model.faults.value}
        check={model.check.value}
        onReveal={(offset) => reveal(offset, true)}
        onFix={({ fix }) => fix && code.current?.replace(applyChange(model.text.peek(), fix))}
      />
      {model.conflict.value !== undefined && <ConflictDialog conflict={model.conflict.value} text={model.text.value} onChoose={(text) => { model.resolve(text); code.current?.replace(text); }} onClose={() => (model.conflict.value = undefined)} />}
      {isTesting.value && <TestsDialog definition={model.text.peek()} onClose={() => (isTesting.value = false)} />}
      {inserting.value !== undefined && <Palette title={inserting.value === null ? build.palette : build.paletteAfter(inserting.value.label)} types={language.types} onChoose={insert} onClose={() => (inserting.value = undefined)} />}
      {connecting.value !== undefined && (
        <ConnectDialog
          source={connecting.value.source.label}
          target={connecting.value.target.label}
          actions={freeActions(connecting.value.source)}
          onChoose={(action) => {
            const { source, target } = connecting.peek()!;
            connecting.value = undefined;
            write(withEdge(model.text.peek(), source, action, target.label));
          }}
          onClose={() => (connecting.value = undefined)}
        />
      )}
      {isRunning.value && flow !== undefined && <RunDialog flow={flow} definition={model.text.value} save={model.isDirty.value && mayEdit ? save : undefined} onClose={() => (isRunning.value = false)} />}
    </div>
  );
}

/** Return the end of what a pattern finds in a text; 0 if that is nothing. */
function endOf(pattern: RegExp, text: string): number {
  const found = pattern.exec(text);
  return found === null ? 0 : found.index + found[0].length;
}

/** The revision, and a mark while there are unsaved changes. */
function FlowMarks({ model }: { model: FlowEditor }) {
  const flow = model.saved.value?.flow;
  return (
    <span class="muted small row tight">
      {flow === undefined ? words.notSaved : words.revision(flow.revision)}
      {model.isDirty.value && flow !== undefined && <span class="unsaved">{texts.unsaved}</span>}
      {!may("editor") && <span class="tag" title={words.readOnlyHint}>{words.readOnly}</span>}
      {flow?.disabled && <span class="tag">{words.disabledNote}</span>}
    </span>
  );
}
