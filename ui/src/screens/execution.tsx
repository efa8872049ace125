/** One execution: as a graph, on a timeline, by its log lines, and by its data. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { location, to, go, withQuery } from "../app/router";
import { may } from "../app/session";
import { NotFound } from "../app/not-found";
import { Head } from "../app/shell";
import { ExecutionStore, FINAL, type Detail } from "../execution/store";
import { pathOf } from "../execution/names";
import { askedStep } from "../execution/selection";
import { later } from "../parts/later";
import { shortId } from "../parts/format";
import { Failure, Skeleton, Status, Tabs } from "../parts/parts";
import { executions as texts } from "../texts/executions";
import { rerun, RerunDialog, starting } from "./execution/rerun";

export default function Execution({ parameters }: { parameters: { id?: string } }) {
  const id = parameters.id ?? "";
  const store = useMemo(() => new ExecutionStore(id), [id]);
  useEffect(() => () => store.close(), [store]);
  const detail = store.detail.value;
  const error = store.error.value;
  if (detail === undefined && error?.status === 404) return <NotFound />;
  if (detail === undefined) {
    return <><Head title={shortId(id)} /><div class="content">{error ? <Failure error={error} retry={store.load} /> : <Skeleton rows={8} />}</div></>;
  }
  return <Shown store={store} detail={detail} />;
}

const GraphTab = later<{ store: ExecutionStore; detail: Detail }>(() => import("./execution/graph").then((module) => module.GraphTab));
const DataTab = later<{ store: ExecutionStore; detail: Detail }>(() => import("./execution/data").then((module) => module.DataTab));
const LogsTab = later<{ store: ExecutionStore }>(() => import("./execution/logs").then((module) => module.LogsTab));
const TimelineTab = later<{ store: ExecutionStore; detail: Detail }>(() => import("./execution/timeline").then((module) => module.TimelineTab));
const CancelDialog = later<{ store: ExecutionStore; onClose: () => void }>(() => import("./execution/actions").then((module) => module.CancelDialog), { isAbove: true });
const DeleteDialog = later<{ id: string; onClose: () => void }>(() => import("./execution/actions").then((module) => module.DeleteDialog), { isAbove: true });
const loadFacts = () => import("./execution/facts");
const Facts = later<{ store: ExecutionStore; detail: Detail; onDelete: () => void }>(() => loadFacts().then((module) => module.Facts), { isAbove: true });
// They are needed as soon as the execution is there.
void loadFacts().catch(() => undefined);
const TABS = ["graph", "timeline", "logs", "data"] as const;

function Shown({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const asked = location.value.query.get("tab");
  const tab = TABS.find((name) => name === asked) ?? "graph";
  const address = to(`/executions/${detail.id}`);
  // What was chosen and filtered in one view is there when the reader comes back to it.
  const kept = { ...Object.fromEntries(location.value.query), line: undefined };
  const isLoading = store.version.value === 0;
  const error = store.error.value;
  return (
    <>
      <ExecutionHead store={store} detail={detail}>
        <Tabs label={texts.tabs} tabs={TABS.map((name) => ({ label: texts[name], href: withQuery(address, { ...kept, tab: name === "graph" ? undefined : name }), current: name === tab }))} />
      </ExecutionHead>
      {(tab === "graph" || tab === "timeline") && isLoading && <div class="content">{error ? <Failure error={error} retry={store.load} /> : <Skeleton rows={8} />}</div>}
      {error && !isLoading && <Failure error={error} retry={store.load} isAbove />}
      {tab === "graph" && !isLoading && <GraphTab store={store} detail={detail} />}
      {tab === "timeline" && !isLoading && <TimelineTab store={store} detail={detail} />}
      {tab === "logs" && <LogsTab store={store} />}
      {tab === "data" && <DataTab store={store} detail={detail} />}
    </>
  );
}

function LiveMark({ store }: { store: ExecutionStore }) {
  const state = store.stream.value?.state.value;
  if (state === undefined || state === "ended" || !store.isLive.value) return null;
  return <span class={`live ${state === "connecting" ? "reconnecting" : state}`} role="status">{texts[state]}</span>;
}

function ExecutionHead({ store, detail, children }: { store: ExecutionStore; detail: Detail; children: preact.ComponentChildren }) {
  const dialog = useSignal<"rerun" | "cancel" | "delete" | undefined>(undefined);
  const isFinal = FINAL.has(detail.status);
  const failedStep = detail.failure?.step;
  const failedNode = detail.failure?.node ?? (failedStep === undefined ? undefined : pathOf(failedStep));
  const waiting = detail.waiting_for?.find(({ type }) => type === "approval");
  // The panel of the failed step has the same button, beside the error, and that of an approval the answers.
  const { query } = location.value;
  const shownStep = ["logs", "data"].includes(query.get("tab") ?? "") ? undefined : askedStep(query, store.decisive.value);
  const isBeside = shownStep === failedStep;
  return (
    <>
      <Head
        title={detail.flow_name || shortId(detail.flow_id)}
        crumbs={<><a href={to("/executions")}>{texts.title}</a><span>/</span><a class="cut" href={to("/executions", { flow: detail.flow_id })}>{detail.flow_name}</a></>}
        beside={<><Status of={detail.status} /><LiveMark store={store} /></>}
        actions={may("operator") && (
          <>
            {!isFinal && <button class="btn" onClick={() => (dialog.value = "cancel")}>{texts.cancel}</button>}
            {waiting?.step && waiting.step !== shownStep && <button class="btn primary" onClick={() => go(withQuery(to(`/executions/${detail.id}`), { step: waiting.step ?? undefined }))}>{texts.toApproval}</button>}
            {isFinal && <button class="btn" onClick={() => (dialog.value = "rerun")}>{texts.rerunEdited}</button>}
            {isFinal && <button class={failedStep === undefined ? "btn primary" : "btn"} title={texts.rerunHint} disabled={starting.busy} onClick={() => rerun(detail.id, {})}>{texts.rerun}</button>}
            {isFinal && failedStep !== undefined && !isBeside && <button class="btn primary" disabled={starting.busy} onClick={() => rerun(detail.id, { from: failedStep })}><span class="cut">{texts.rerunFrom(failedNode ?? failedStep)}</span></button>}
          </>
        )}
      >
        <div class="facts"><Facts store={store} detail={detail} onDelete={() => (dialog.value = "delete")} /></div>
        {children}
      </Head>
      {dialog.value === "rerun" && <RerunDialog detail={detail} steps={store.steps.value} onClose={() => (dialog.value = undefined)} />}
      {dialog.value === "delete" && <DeleteDialog id={detail.id} onClose={() => (dialog.value = undefined)} />}
      {dialog.value === "cancel" && <CancelDialog store={store} onClose={() => (dialog.value = undefined)} />}
    </>
  );
}
