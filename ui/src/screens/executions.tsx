/** The list of executions: filtered by the server, with its filters in the address. */
import { useSignal, type Signal } from "@preact/signals";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { go, location, setQuery, to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { duration, now, shortId } from "../parts/format";
import { Empty, Load, Status, Time } from "../parts/parts";
import { common, statuses } from "../texts/common";
import { executions as texts } from "../texts/executions";
import { LogLevels } from "./execution";
import { BatchDialog, JobBar, type Batch } from "./executions/jobs";

export type Execution = Schemas["ExecutionAnswer"];
const STATUSES = ["failed", "waiting", "running", "completed", "cancelled"];
const PAGE = 50;

export default function Executions() {
  const { query } = location.value;
  const chosen = (query.get("status") ?? "").split(",").filter(Boolean);
  const flow = query.get("flow") ?? "";
  const offset = Number(query.get("from") ?? 0) || 0;
  const selected = useSignal<ReadonlySet<string>>(new Set());
  const batch = useSignal<Batch | undefined>(undefined);
  const jobId = useSignal<string | undefined>(undefined);
  const filters = { flow_id: flow || undefined, status: chosen.join(",") || undefined };
  const list = useQuery(
    `${workspace.value?.id} ${query}`,
    (signal) => api.get("/api/v1/executions", { query: { ...filters, limit: PAGE, offset }, signal }),
    5000,
  );
  const hasFilters = flow !== "" || chosen.length > 0;
  function toggle(status: string): void {
    const next = chosen.includes(status) ? chosen.filter((each) => each !== status) : [...chosen, status];
    selected.value = new Set();
    setQuery({ status: next.join(",") || undefined, from: undefined });
  }
  function ask(action: Batch["action"]): void {
    const ids = [...selected.value];
    batch.value = ids.length > 0 ? { action, ids } : { action, filter: filters };
  }
  return (
    <>
      <Head
        title={texts.title}
        actions={may("operator") && <>
          <button class="btn" onClick={() => ask("cancel")}>{texts.cancelSelected}</button>
          <button class="btn" onClick={() => ask("rerun")}>{texts.rerunSelected}</button>
        </>}
      >
        <div class="filters" role="group" aria-label={texts.withStatus}>
          {STATUSES.map((status) => <button key={status} class="chip" aria-pressed={chosen.includes(status)} onClick={() => toggle(status)}>{statuses[status]}</button>)}
          <FlowChoice value={flow} />
          {hasFilters && <button class="btn quiet small" onClick={() => go(to("/executions"), { replace: true })}>{texts.clear}</button>}
          {selected.value.size > 0 && <span class="muted small" role="status">{texts.selected(selected.value.size)}</span>}
        </div>
      </Head>
      <div class="content">
        {jobId.value !== undefined && <JobBar id={jobId.value} onChange={list.reload} onClose={() => (jobId.value = undefined)} />}
        <Load query={list} rows={10}>
          {(page) => page.executions.length > 0 ? (
            <>
              <Table executions={page.executions} selected={selected} />
              <Paging offset={offset} shown={page.executions.length} total={page.total} />
            </>
          ) : (
            <div class="card">
              {hasFilters ? (
                <Empty title={texts.noMatch}><button class="btn" onClick={() => go(to("/executions"), { replace: true })}>{texts.clear}</button></Empty>
              ) : (
                <Empty title={texts.empty}><p>{texts.emptyHint}</p></Empty>
              )}
            </div>
          )}
        </Load>
      </div>
      {batch.value !== undefined && (
        <BatchDialog
          batch={batch.value}
          onStarted={(job) => { jobId.value = job; batch.value = undefined; selected.value = new Set(); }}
          onClose={() => (batch.value = undefined)}
        />
      )}
    </>
  );
}

function FlowChoice({ value }: { value: string }) {
  const flows = useQuery(workspace.value?.id ?? "", (signal) => api.get("/api/v1/flows", { query: { limit: 500 }, signal }));
  return (
    <select aria-label={texts.flow} value={value} onChange={(event) => setQuery({ flow: event.currentTarget.value || undefined, from: undefined })}>
      <option value="">{texts.allFlows}</option>
      {flows.data?.flows.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
      {value !== "" && !flows.data?.flows.some(({ id }) => id === value) && <option value={value}>{shortId(value)}</option>}
    </select>
  );
}

function Paging({ offset, shown, total }: { offset: number; shown: number; total: number }) {
  const page = (from: number) => to("/executions", { ...Object.fromEntries(location.value.query), from: from > 0 ? String(from) : undefined });
  return (
    <nav class="more" aria-label={common.next}>
      <span>{common.shown(shown, total)}</span>
      {offset > 0 && <a class="link" href={page(Math.max(0, offset - PAGE))}>{common.newer}</a>}
      {offset + shown < total && <a class="link" href={page(offset + PAGE)}>{common.older}</a>}
    </nav>
  );
}

function Table({ executions, selected }: { executions: Execution[]; selected: Signal<ReadonlySet<string>> }) {
  const canSelect = may("operator");
  const all = executions.every(({ id }) => selected.value.has(id));
  const select = (ids: string[], isOn: boolean) => {
    const next = new Set(selected.value);
    for (const id of ids) if (isOn) next.add(id); else next.delete(id);
    selected.value = next;
  };
  return (
    <div class="card scroll">
      <table>
        <thead>
          <tr>
            {canSelect && <th class="tick"><input type="checkbox" aria-label={texts.selectAll} checked={all} onChange={(event) => select(executions.map(({ id }) => id), event.currentTarget.checked)} /></th>}
            <th>{texts.status}</th><th>{texts.flow}</th><th class="wide-only">{texts.where}</th><th class="wide-only">{texts.startedBy}</th><th class="wide-only">{texts.log}</th><th>{texts.started}</th><th class="num">{texts.took}</th>
          </tr>
        </thead>
        <tbody>
          {executions.map((execution) => (
            <tr key={execution.id}>
              {canSelect && <td class="tick"><input type="checkbox" aria-label={texts.select(execution.flow_name ?? execution.id)} checked={selected.value.has(execution.id)} onChange={(event) => select([execution.id], event.currentTarget.checked)} /></td>}
              <td><Status of={execution.status} /></td>
              <td class="name"><a class="cut" data-nav href={to(`/executions/${execution.id}`)} title={execution.flow_name}>{execution.flow_name || shortId(execution.flow_id)}</a></td>
              <td class="wide-only where"><Where of={execution} /></td>
              <td class="wide-only muted"><StartedBy of={execution} /></td>
              <td class="wide-only">{execution.logs !== undefined && <LogLevels logs={execution.logs as unknown as Record<string, number>} />}</td>
              <td class="muted nowrap"><Time at={execution.started_at} /></td>
              <td class="num">{duration(execution.duration ?? Math.max(0, now.value - Date.parse(execution.started_at)))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Where it has failed, and that it has been repaired since. */
export function Where({ of: { error, failed_node: node, error_type: type, repaired_by: repair } }: { of: Execution }) {
  if (error === undefined) return null;
  return (
    <span class="cut where-text" title={error}>
      {node !== undefined && <><b>{node}</b> </>}<span class="muted">{type ?? error}</span>
      {repair !== undefined && <> · <a class="link" href={to(`/executions/${repair}`)}>{texts.repaired}</a></>}
    </span>
  );
}

export function StartedBy({ of: { rerun_of: original, trigger } }: { of: Execution }) {
  if (original !== undefined) return <a class="link" href={to(`/executions/${original}`)}>{texts.byRerun}</a>;
  return <>{trigger ?? texts.byHand}</>;
}
