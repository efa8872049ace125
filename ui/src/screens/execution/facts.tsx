/** What is known of an execution, below its name: when and by whom it was started, of which revision, and its log. */
import { useEffect } from "preact/hooks";
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { personOf } from "../../app/people";
import { location, to, withQuery } from "../../app/router";
import { may, workspace } from "../../app/session";
import { childOf } from "../../execution/subflows";
import { FINAL, type Detail, type ExecutionStore } from "../../execution/store";
import { CurlButton } from "../../parts/curl";
import { duration, now, shortId, tick } from "../../parts/format";
import { Time } from "../../parts/parts";
import { CopyButton } from "../../parts/tools";
import { executions as texts } from "../../texts/executions";
import { facts as words } from "../../texts/facts";
import { LabelTags } from "../executions/labels";
import { StartedBy, useTriggers } from "../executions/started-by";
import { LogLevels } from "./log-levels";

export function Facts({ store, detail, onDelete }: { store: ExecutionStore; detail: Detail; onDelete: () => void }) {
  const triggers = useTriggers(detail.trigger !== undefined);
  useEffect(() => {
    if (FINAL.has(detail.status)) return;
    const timer = setInterval(tick, 1000);
    return () => clearInterval(timer);
  }, [detail.status]);
  const logs = detail.logs as Record<string, number> | undefined;
  return (
    <>
      <span>{texts.started} <b><Time at={detail.started_at} /></b></span>
      <span>{detail.duration === undefined ? words.soFar : texts.took} <b>{duration(detail.duration ?? Math.max(0, now.value - Date.parse(detail.started_at)))}</b></span>
      <a class="link" href={to(`/flows/${detail.flow_id}`)}>{may("editor") ? words.openFlow : words.readFlow}</a>
      {detail.revision !== undefined && <span>{words.revision} <a class="link" href={to(`/flows/${detail.flow_id}/revisions`, { number: String(detail.revision) })}>{detail.revision}</a>{!FINAL.has(detail.status) && words.kept}</span>}
      {detail.rerun_of !== undefined && <span>{words.rerunOf} <a class="link" href={to(`/executions/${detail.rerun_of}`)}>{shortId(detail.rerun_of)}</a></span>}
      {detail.repaired_by !== undefined && <span>{words.repairedBy} <a class="link" href={to(`/executions/${detail.repaired_by}`)}>{shortId(detail.repaired_by)}</a></span>}
      {detail.trigger !== undefined && <span class="starter-fact">{words.trigger} <StartedBy of={{ trigger: detail.trigger }} triggers={triggers} /></span>}
      {detail.started_by !== undefined && <span>{words.by} <b>{personOf(detail.started_by)}</b></span>}
      {detail.status === "cancelled" && may("admin") && <CancelledBy id={detail.id} />}
      {detail.parent_id !== undefined && <span>{words.parent} <a class="link" href={to(`/executions/${detail.parent_id}`)}>{shortId(detail.parent_id)}</a></span>}
      {store.steps.value.some(childOf) && <a class="link" href={to("/executions", { parent: detail.id })}>{words.subFlows}</a>}
      {detail.labels !== undefined && <LabelTags labels={detail.labels} />}
      {logs !== undefined && ((logs["error"] ?? 0) > 0 || (logs["warn"] ?? 0) > 0) && (
        <span>{texts.log} <a href={withQuery(to(`/executions/${detail.id}`), { tab: "logs" })}><LogLevels logs={logs} /></a></span>
      )}
      <Waits detail={detail} />
      <ToDrawer detail={detail} />
      <span title={detail.id}><CopyButton text={detail.id} label={shortId(detail.id)} look="btn quiet small-btn mono" /></span>
      <span class="wide-only"><CurlButton path={`/api/v1/executions/${detail.id}`} /></span>
      {FINAL.has(detail.status) && may("editor") && <button class="btn quiet small-btn" onClick={onDelete}>{words.deleteRecord}</button>}
    </>
  );
}

/** Milliseconds of a wait whose end is worth a look; a shorter pause of the flow itself would make the page jump. */
const LONG = 60_000;

/** What it waits for: steps of one node, as in a loop, are named once. A retry, whose error the panel of its step shows, leads there. */
function Waits({ detail: { id, flow_id: flow, waiting_for: waits = [] } }: { detail: Detail }) {
  const kinds = new Map<string, typeof waits>();
  for (const wait of waits) {
    if ((wait.type === "delay" || wait.type === "retry") && wait.until && Date.parse(wait.until) <= now.value + LONG) continue;
    const kind = `${wait.type} ${wait.node ?? ""}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), wait]);
  }
  return <>{[...kinds].map(([kind, same]) => {
    const { type, node, step, until } = same[0]!;
    return (
      <span key={kind}>
        {texts.waits} {type === "concurrency" || type === "room" ? <a class="link" href={to("/executions", { flow: type === "room" ? undefined : flow, status: "running,waiting" })}>{words.waitsFor[type]}</a> : <b class="wait">{words.waitsFor[type] ?? type}</b>}
        {node && <> (<a class="link" href={withQuery(to(`/executions/${id}`), { step: step ?? undefined })}>{node}</a>)</>}
        {same.length > 1 && ` × ${same.length}`}
        {same.length === 1 && until && Date.parse(until) > now.value + LONG && <> {words.until} <Time at={until} /></>}
      </span>
    );
  })}</>;
}

/** On a narrow screen the panel with the error or the answers is below the picture, and the button of the head is there only if it shows another step. */
function ToDrawer({ detail: { failure, waiting_for: waits } }: { detail: Detail }) {
  const { query } = location.value;
  const first = waits?.find(({ type }) => type === "approval" || type === "signal");
  const step = failure?.step ?? (first?.type === "approval" && may("operator") ? first.step : undefined);
  const isBelow = step !== undefined && (query.get("step") ?? step) === step && !["node", "loop"].some((name) => query.has(name)) && !["logs", "data"].includes(query.get("tab") ?? "");
  return isBelow ? <button class="btn primary small-btn narrow-only" onClick={() => document.querySelector(".drawer")?.scrollIntoView()}>{failure ? words.toError : texts.toApproval}</button> : null;
}

/** Who has cancelled it, which the audit log of the workspace tells its admins. */
function CancelledBy({ id }: { id: string }) {
  const found = useQuery(id, (signal) => api.get("/api/v1/workspaces/{id}/audit", { path: { id: workspace.peek()!.id }, query: { object_id: id, action: "execution.cancelled", outcome: "done", limit: 1 }, signal }));
  const actor = found.data?.entries[0]?.actor;
  return actor ? <span>{words.cancelledBy} <b>{personOf(actor)}</b></span> : null;
}
