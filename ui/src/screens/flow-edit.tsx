/** A flow as text beside its graph, with its problems below. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { ApiError } from "../api/client";
import { guard, location, to, type Parameters } from "../app/router";
import { NotFound } from "../app/not-found";
import { Head } from "../app/shell";
import { account, hasLeft, may, workspace } from "../app/session";
import { Code, type CodeHandle } from "../editor/code";
import { complete } from "../editor/complete";
import { applyChange } from "../editor/edits";
import { hoverOrWordsAt } from "../editor/hover";
import { isMap } from "../graph/document";
import { connections } from "../graph/connections";
import { GraphView } from "../graph/view";
import { moment, now } from "../parts/format";
import { Icon } from "../parts/icons";
import { later } from "../parts/later";
import { Failure, Skeleton } from "../parts/parts";
import { build } from "../texts/build";
import { editor as texts } from "../texts/editor";
import { flow as words } from "../texts/flow";
import { useEditorActions, type EditorActions } from "./flow/actions";
import type { DialogProps } from "./flow/dialogs";
import { takeOver, type Handover } from "./flow/handover";
import { FlowHead } from "./flow/head";
import { Inspector } from "./flow/inspector";
import { loadLanguage, type Language } from "./flow/language";
import { Problems } from "./flow/problems";
import { readFlow } from "./flow/places";
import { loadFlow, type Saved } from "./flow/saved";
import { FlowEditor } from "./flow/state";

// Beside the editor, which does not wait for them.
const EditorDialogs = later<DialogProps>(() => import("./flow/dialogs").then((module) => module.EditorDialogs), { isAbove: true });

export default function FlowEdit({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const begun = useMemo(() => takeOver(id), []);
  const loaded = useSignal<{ saved: Saved; language: Language } | undefined>(begun);
  const error = useSignal<unknown>(undefined);
  const attempts = useSignal(0);
  useEffect(() => {
    if (begun !== undefined) return;
    const abort = new AbortController();
    Promise.all([readAhead(loadFlow(id, abort.signal)), loadLanguage(workspace.peek()?.id ?? "")]).then(
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
  if (error.value !== undefined) return <><FlowHead id={id} /><div class="content"><Failure error={error.value} retry={() => attempts.value++} /></div></>;
  if (loaded.value === undefined) return <><FlowHead id={id} /><div class="content"><Skeleton rows={10} /></div></>;
  return <Editor key={id} saved={loaded.value.saved} language={loaded.value.language} begun={begun} />;
}

/** Read the text of a flow before its editor is made, so that the page answers in between. */
async function readAhead(loading: Promise<Saved>): Promise<Saved> {
  const saved = await loading;
  readFlow(saved.flow.definition);
  await new Promise((goOn) => setTimeout(goOn));
  return saved;
}

export function Editor({ saved, language, initial, draft, begun }: { saved?: Saved; language: Language; initial?: string; draft?: string; begun?: Handover }) {
  const id = saved?.flow.id;
  const model = useMemo(() => {
    const made = new FlowEditor(draft ?? `${account.peek()?.id}.${workspace.peek()?.id}.${id}`, saved, initial);
    if (begun !== undefined) made.text.value = begun.text;
    return made;
  }, []);
  const code = useRef<CodeHandle | undefined>(undefined);
  const actions = useEditorActions(model, code, language);
  const mayEdit = may("editor");
  useEffect(() => () => model.dispose(), []);
  useGuards(model, actions);

  const reading = model.reading.value?.graph;
  const part = reading?.parts.find(({ id }) => id === model.selected.value);
  const selected = reading?.nodes.find(({ id }) => id === (part?.parent ?? model.selected.value));
  const flow = model.saved.value?.flow;
  const hasTests = isMap(model.reading.value?.value) && "tests" in model.reading.value.value;
  const beside = <FlowMarks model={model} />;
  const buttons = (
    <>
      {mayEdit && <button class="btn quiet" onClick={actions.tidy}>{texts.format}</button>}
      {hasTests && may("operator") && <button class="btn quiet" onClick={() => actions.ask({ kind: "tests" })}>{texts.test}</button>}
      {mayEdit && <button class={flow === undefined ? "btn primary" : "btn"} disabled={(flow !== undefined && !model.isDirty.value) || model.isSaving.value} onClick={actions.save}>{texts.save}</button>}
      {flow !== undefined && may("operator") && <button class="btn primary" onClick={actions.run}>{texts.run}</button>}
    </>
  );
  return (
    <div class="edit">
      {flow === undefined ? <Head title={words.newFlow} crumbs={<a href={to("/flows")}>{words.flows}</a>} beside={beside} actions={buttons} /> : <FlowHead id={flow.id} name={flow.name} beside={beside} actions={buttons} />}
      {model.restored.value !== undefined && (
        <div class="note-bar" role="status">
          {texts.draftRestored(moment(model.restored.value.at, now.value))}
          <button class="btn" onClick={() => { model.discard(); code.current?.replace(model.text.peek()); }}>{model.text.value === model.restored.value.text ? texts.discard : texts.discardAll}</button>
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
          onSave={actions.save}
          onRun={actions.run}
          onReady={(handle) => {
            code.current = handle;
            // A new flow begins with its name, which the first key replaces.
            if (begun?.cursor !== undefined) handle.reveal(begun.cursor, true);
            else if (flow !== undefined) actions.open(location.peek().query);
            else {
              const [found, key] = /(name: ?)[^\n,}]*/.exec(model.text.peek()) ?? ["", ""];
              const from = model.text.peek().indexOf(found) + key!.length;
              handle.reveal(from + found.length - key!.length, true, from);
            }
          }}
        />
        <section class="edit-graph" aria-label={words.panes}>
          {model.isStale.value && <p class="stale-graph" role="status">{texts.stale}</p>}
          <GraphView graph={model.graph.value} selected={model.selected} marks={model.marks.value} onSelect={(node) => { actions.reveal(node); actions.isInspecting.value = true; }} onInsertAfter={mayEdit ? (node) => actions.ask({ kind: "insert", after: actions.nodeAt(node) }) : undefined} connections={mayEdit ? (camera) => connections(actions.connect, camera) : undefined} />
          {mayEdit && <button class="btn add-node" onClick={() => actions.ask({ kind: "insert" })}><Icon name="plus" />{build.add}</button>}
          {actions.isInspecting.value && selected !== undefined && (
            <Inspector
              key={selected.id}
              model={model}
              language={language}
              node={selected}
              part={part}
              isReadOnly={!mayEdit}
              write={actions.write}
              onInsertAfter={() => actions.ask({ kind: "insert", after: selected })}
              onRename={(name) => actions.rename(selected, name)}
              onRemove={() => actions.remove(selected)}
              onClose={() => (actions.isInspecting.value = false)}
            />
          )}
        </section>
      </div>
      <Problems
        faults={model.faults.value}
        check={model.check.value}
        onReveal={(offset) => code.current?.reveal(offset, true)}
        onFix={({ fix }) => fix && code.current?.replace(applyChange(model.text.peek(), fix))}
        onAdd={(kind, name) => actions.ask({ kind, name })}
      />
      <EditorDialogs model={model} code={code} language={language} actions={actions} />
    </div>
  );
}

/** Save and run by keys, and keep the draft when the page or the screen is left. */
function useGuards(model: FlowEditor, actions: EditorActions): void {
  useEffect(() => {
    const before = (event: BeforeUnloadEvent) => {
      model.writeTyped();
      if (!model.isDirty.peek()) return;
      model.keep();
      if (!hasLeft) event.preventDefault();
    };
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.defaultPrevented) return;
      if (event.key.toLowerCase() === "s") actions.save();
      else if (event.key === "Enter" && document.querySelector("dialog[open]") === null) actions.run();
      else return;
      event.preventDefault();
    };
    window.addEventListener("beforeunload", before);
    window.addEventListener("keydown", onKey);
    const release = guard(() => {
      model.writeTyped();
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
}

/** The revision, and a mark while there are unsaved changes. */
function FlowMarks({ model }: { model: FlowEditor }) {
  const flow = model.saved.value?.flow;
  return (
    <span class="muted small row tight">
      {flow === undefined ? words.notSaved : words.revision(flow.revision)}
      {model.isDirty.value && flow !== undefined && <span class="unsaved">{texts.unsaved}</span>}
      {!may("editor") && <><span class="tag">{words.readOnly}</span> {words.readOnlyHint}</>}
      {flow?.disabled && <span class="tag">{words.disabledNote}</span>}
    </span>
  );
}
