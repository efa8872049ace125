/** A new flow: a choice of samples, then the editor. */
import { useMemo } from "preact/hooks";
import { useQuery } from "../api/query";
import { drafts } from "../app/drafts";
import { go, location, to } from "../app/router";
import { account, may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { wholeOf } from "../graph/document";
import { layoutGraph } from "../graph/layout";
import { Picture } from "../graph/picture";
import { Icon } from "../parts/icons";
import { Empty, Load } from "../parts/parts";
import { editor as ofEditor } from "../texts/editor";
import { flow as words } from "../texts/flow";
import { samples as texts } from "../texts/samples";
import { Editor } from "./flow-edit";
import { loadLanguage } from "./flow/language";
import { readFlow } from "./flow/places";
import { samples, type Sample } from "./flow/samples";

/** The shortest flow without a fault, which can be saved and run as it is. */
const EMPTY = "metadata: {name: New flow}\n\nnodes:\n  done: {type: return, params: {value: \"${input}\"}}\n";

export default function FlowNew() {
  const chosen = location.value.query.get("from");
  const language = useQuery("language", () => loadLanguage(workspace.peek()?.id ?? ""));
  if (chosen !== null && may("editor") && language.data !== undefined) {
    const sample = samples.find(({ name }) => name === chosen);
    return <Editor key={chosen} language={language.data} initial={sample?.definition ?? EMPTY} draft={draftOf(chosen)} />;
  }
  const head = <Head title={words.newFlow} crumbs={<a href={to("/flows")}>{words.flows}</a>} />;
  if (!may("editor")) return <>{head}<Empty title={words.readOnly}><p>{words.readOnlyHint}</p></Empty></>;
  if (chosen !== null) return <>{head}<div class="content"><Load query={language} rows={10}>{() => null}</Load></div></>;
  return (
    <>
      {head}
      <div class="content">
        <p class="muted">{texts.hint}</p>
        <ul class="samples">
          <li><button class="card sample" onClick={() => begin("empty")}><span class="sample-picture muted"><Icon name="plus" /></span><b>{texts.empty}<Unsaved from="empty" /></b><span class="muted small">{texts.emptyHint}</span></button></li>
          {samples.map((sample) => <li key={sample.name}><SampleCard sample={sample} /></li>)}
        </ul>
      </div>
    </>
  );
}

/** The draft of a new flow. Args: from: The name of the sample that it begins from. */
function draftOf(from: string): string {
  return `${account.peek()?.id}.${workspace.peek()?.id}.new.${from}`;
}

/** Open the editor as an entry of the history of its own: Back leads to the choice. */
function begin(from: string): void {
  go(to("/flows/new", { from }));
}

function Unsaved({ from }: { from: string }) {
  return drafts.keys(`${draftOf(from)}.`).length > 0 ? <> <span class="unsaved">{ofEditor.unsaved}</span></> : null;
}

function SampleCard({ sample }: { sample: Sample }) {
  const layout = useMemo(() => layoutGraph(wholeOf(readFlow(sample.definition)!.graph)), []);
  return (
    <button class="card sample" onClick={() => begin(sample.name)}>
      <span class="sample-picture"><Picture layout={layout} /></span>
      <b>{sample.title}<Unsaved from={sample.name} /></b>
      <span class="muted small">{sample.description}</span>
    </button>
  );
}
