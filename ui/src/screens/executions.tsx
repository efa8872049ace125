/** The list of executions: filtered by the server, with its filters in the address. */
import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { go, keepInEntry, keptInEntry, location, setQuery, to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { count, present, shortId } from "../parts/format";
import { Dialog } from "../parts/dialog";
import { Pager } from "../parts/pager";
import { Empty, Load } from "../parts/parts";
import { Table, type Column } from "../parts/table";
import { CurlButton } from "../parts/curl";
import { Period } from "../parts/period";
import { readTerm, termsOf } from "../forms/labels";
import { common, statuses } from "../texts/common";
import { executionList as ofList } from "../texts/execution-list";
import { executions as texts } from "../texts/executions";
import { facts } from "../texts/facts";
import { ofDuration, ofLog, ofPlace, ofStart, ofStarter, ofStatus, placeOf, type Execution } from "./executions/columns";
import { LabelTags } from "./executions/labels";
import { useTriggers } from "./executions/started-by";
import { isShown, ViewDialog, Views } from "./executions/views";
import { BatchDialog, JobBars, type Batch } from "./executions/jobs";
import { FlowChoice } from "./flow-choice";

const STATUSES = ["failed", "waiting", "running", "completed", "cancelled"];
const PAGE = 50;
/** The value of the choice of a period, instead of a span until now. */
const BETWEEN = "between";
const SELECTED = "selected";
const OLDEST_FIRST = "started_at";
/** Instead of the id of the execution that waits. */
const NONE = "none" as const;
/** Before any execution. */
const BEGINNING = "2000-01-01T00:00:00Z";
/** What a histogram counts exactly. */
const MOST_COUNTED = 10_000;

/** The filters in the address: what the list and a job over it are asked for. */
function filtersOf(query: URLSearchParams) {
  const value = (name: string) => query.get(name) || undefined;
  const labels = termsOf(query).filter(({ kind }) => kind === "label");
  return {
    status: value("status"),
    flow_id: value("flow"),
    error_type: value("error"),
    node: value("node"),
    unrepaired: value("unrepaired") === undefined ? undefined : true,
    parent: value("parent") === NONE ? NONE : undefined,
    parent_id: value("parent") === NONE ? undefined : value("parent"),
    label: labels.length > 0 ? labels.map(({ name, value }) => `${name}:${value}`) : undefined,
    ...periodOf(query),
    trigger: value("trigger"),
    rerun_of: value("rerun_of"),
    job: value("job"),
  };
}

/** The inputs in the address, by name. */
function inputsOf(query: URLSearchParams): Record<string, string> {
  return Object.fromEntries(termsOf(query).flatMap(({ kind, name, value }) => (kind === "input" ? [[name, value]] : [])));
}

/** The same as `filtersOf`, with the inputs as parameters of a list. */
function listed(query: URLSearchParams) {
  return { ...filtersOf(query), ...Object.fromEntries(Object.entries(inputsOf(query)).map(([name, value]) => [`input.${name}`, value])) };
}

const HOUR = 3_600_000;
const SPANS: Record<string, number> = { "1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR };
/** Days of the reader's zone, by the number of days since. */
const DAYS: Record<string, number> = { today: 0, yesterday: 1 };

function periodOf(query: URLSearchParams): { since: string | undefined; until: string | undefined } {
  const last = query.get("last") ?? "";
  const [ago, span] = [DAYS[last], SPANS[last]];
  if (ago !== undefined) return { since: midnight(ago), until: ago === 0 ? undefined : midnight(ago - 1) };
  return { since: span === undefined ? query.get("since") || undefined : new Date(present() - span).toISOString(), until: query.get("until") || undefined };
}

function midnight(daysAgo: number): string {
  const now = new Date(present());
  // The parts, not hours: a day may have 23 or 25 of them.
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - daysAgo).toISOString();
}

/** Numbers of executions by status, as far as the server has them at hand: of all, of a flow, and of a time. */
function useCounts(query: URLSearchParams): Record<string, string> {
  const { flow_id: flow, since, until, status: _, ...others } = listed(query);
  const isCounted = Object.values(others).every((value) => value === undefined);
  const counts = useQuery(
    `${workspace.value?.id} ${flow} ${query.get("last")} ${query.get("since")} ${until} ${isCounted}`,
    async (signal): Promise<Record<string, string>> => {
      if (!isCounted) return {};
      if (flow === undefined && since === undefined && until === undefined) return shown((await api.get("/api/v1/overview", { query: { flows: 1 }, signal })).counts, true);
      const { buckets: [all] } = await api.get("/api/v1/executions/histogram", { query: { flow_id: flow, since: since ?? BEGINNING, until, buckets: 1 }, signal });
      return all === undefined ? {} : shown(all.counts, all.is_exact);
    },
    10_000,
  );
  // What follows them does not move when they come.
  return counts.data ?? (isCounted ? Object.fromEntries(STATUSES.map((status) => [status, ""])) : {});
}

/** Args: isExact: False if the largest numbers are lower bounds. */
function shown(counts: Schemas["StatusCounts"], isExact: boolean): Record<string, string> {
  return Object.fromEntries(Object.entries(counts).map(([status, number]) => [status, `${count(number)}${isExact || number < MOST_COUNTED ? "" : "+"}`]));
}

export default function Executions() {
  const { query } = location.value;
  const selected = useSignal<ReadonlySet<string>>(useMemo(() => keptInEntry<ReadonlySet<string>>(SELECTED) ?? new Set(), []));
  useEffect(() => keepInEntry(SELECTED, selected.value), [selected.value]);
  // What is selected stays so on other pages, and not under other filters: it would be acted on unseen.
  const filters = [...query].filter(([name]) => name !== "cursor" && name !== "sort").join();
  const before = useRef(filters);
  useEffect(() => {
    if (before.current !== filters) selected.value = new Set();
    before.current = filters;
  }, [filters]);
  const batch = useSignal<Batch | undefined>(undefined);
  const jobs = useSignal<readonly string[]>([]);
  const isViewOpen = useSignal(false);
  const isMenuOpen = useSignal(false);
  const cursor = query.get("cursor") ?? "";
  const sort = query.get("sort") === OLDEST_FIRST ? OLDEST_FIRST : undefined;
  const list = useQuery(
    `${workspace.value?.id} ${query}`,
    (signal) => api.get("/api/v1/executions", { query: { ...listed(query), sort, limit: PAGE, cursor, count: true }, signal }),
    5000,
    "executions",
  );
  const isFirstUse = list.data?.executions.length === 0 && list.data.next_cursor === undefined && query.size === 0;
  const hasFilters = Object.values(listed(query)).some((value) => value !== undefined);
  function ask(action: Batch["action"]): void {
    const ids = [...selected.value];
    // A job needs a filter: without one, it takes all that the action is for.
    const all = { status: action === "cancel" ? "running,waiting" : "failed" };
    batch.value = ids.length > 0 ? { action, ids } : { action, filter: hasFilters ? { ...filtersOf(query), input: inputsOf(query) } : all };
  }
  const actions = (
    <>
      <button class="btn" onClick={() => ask("cancel")}>{ofList.cancelSelected}</button>
      <button class="btn" onClick={() => ask("rerun")}>{ofList.rerunSelected}</button>
      {/* Not all that there are, by one button. */}
      {may("editor") && (selected.value.size > 0 || hasFilters) && <button class="btn" onClick={() => ask("delete")}>{ofList.deleteSelected}</button>}
    </>
  );
  return (
    <>
      <Head
        title={texts.title}
        actions={!isFirstUse && <>
          {selected.value.size > 0 && <span class="muted small" role="status">{ofList.selected(selected.value.size)}</span>}
          <button class="btn" onClick={() => (isViewOpen.value = true)}>{ofList.view}</button>
          {may("operator") && <>
            <button class="btn slim-only" aria-haspopup="dialog" onClick={() => (isMenuOpen.value = true)}>{ofList.actions}</button>
            <span class="row roomy-only">{actions}</span>
          </>}
        </>}
      >
        {!isFirstUse && <><Views /><Filters query={query} hasFilters={hasFilters} /></>}
      </Head>
      <div class="content">
        <JobBars started={jobs} onChange={list.reload} />
        <Load query={list} rows={10}>
          {/* A page without executions may be followed by others. */}
          {(page) => page.executions.length > 0 || page.next_cursor !== undefined ? (
            <>
              {page.executions.length > 0 ? <Rows executions={page.executions} selected={selected} /> : <div class="card"><Empty title={ofList.noMatchYet} /></div>}
              <Pager next={page.next_cursor} label={common.older} count={page.total !== undefined && ofList.count(page.total, page.total_is_exact !== false)}><CurlButton path="/api/v1/executions" query={{ ...listed(query), sort, limit: PAGE, cursor }} /></Pager>
            </>
          ) : (
            <div class="card">
              {hasFilters ? (
                <Empty title={ofList.noMatch}>{Object.keys(inputsOf(query)).length > 0 && <p>{ofList.onlySearchable}</p>}<button class="btn" onClick={() => go(to("/executions"), { replace: true })}>{facts.clear}</button></Empty>
              ) : (
                <Empty title={facts.empty}><p>{ofList.emptyHint}</p><a class="btn" href={to("/flows")}>{ofList.toFlows}</a></Empty>
              )}
            </div>
          )}
        </Load>
      </div>
      {isMenuOpen.value && (
        <Dialog title={ofList.actionsTitle} onClose={() => (isMenuOpen.value = false)}>
          {/* The dialog of the action takes its place. */}
          <div class="stack tight" onClick={(event) => { if ((event.target as HTMLElement).closest("button")) isMenuOpen.value = false; }}>{actions}</div>
        </Dialog>
      )}
      {isViewOpen.value && <ViewDialog onClose={() => (isViewOpen.value = false)} />}
      {batch.value !== undefined && (
        <BatchDialog
          batch={batch.value}
          onStarted={(job) => { jobs.value = [...jobs.peek(), job]; batch.value = undefined; selected.value = new Set(); }}
          onClose={() => (batch.value = undefined)}
        />
      )}
    </>
  );
}

function Filters({ query, hasFilters }: { query: URLSearchParams; hasFilters: boolean }) {
  const chosen = (query.get("status") ?? "").split(",").filter(Boolean);
  const isUnrepaired = query.has("unrepaired");
  const set = (values: Record<string, string | undefined>) => setQuery({ ...values, cursor: undefined });
  function toggle(status: string): void {
    const next = chosen.includes(status) ? chosen.filter((each) => each !== status) : [...chosen, status];
    // "not repaired" is about failed ones.
    set({ status: next.join(",") || undefined, ...(next.some((each) => each !== "failed") ? { unrepaired: undefined } : {}) });
  }
  const counts = useCounts(query);
  const triggers = useTriggers(query.has("trigger"));
  const isTop = query.get("parent") === NONE;
  const texted: [string, string | null, (value: string) => string][] = [
    ["error", query.get("error"), ofList.errorIs], ["node", query.get("node"), ofList.nodeIs],
    ["trigger", query.get("trigger"), (id) => ofList.triggerIs(triggers.get(id)?.name ?? shortId(id))], ["rerun_of", query.get("rerun_of"), (id) => ofList.rerunOfIs(shortId(id))],
    ["job", query.get("job"), (id) => ofList.jobIs(shortId(id))],
    ["parent", isTop ? null : query.get("parent"), (id) => ofList.subFlowsOf(shortId(id))],
  ];
  const hasPeriod = query.has("since") || query.has("until") || query.get("last") === BETWEEN;
  return (
    <div class="filters" role="group" aria-label={ofList.withStatus}>
      {STATUSES.map((status) => <button key={status} class="chip" aria-pressed={chosen.includes(status)} onClick={() => toggle(status)}>{statuses[status]}{counts[status] !== undefined && <> <b>{counts[status]}</b></>}</button>)}
      <button class="chip" title={ofList.unrepairedHint} aria-pressed={isUnrepaired} onClick={() => set(isUnrepaired ? { unrepaired: undefined } : { unrepaired: "1", status: chosen.includes("failed") ? "failed" : undefined })}>{ofList.unrepaired}</button>
      <button class="chip" title={ofList.noSubFlowsHint} aria-pressed={isTop} onClick={() => set({ parent: isTop ? undefined : NONE })}>{ofList.noSubFlows}</button>
      {texted.map(([name, value, label]) => value && <button key={name} class="chip" aria-pressed="true" aria-label={facts.without(label(value))} onClick={() => set({ [name]: undefined })}>{label(value)} ×</button>)}
      {termsOf(query).map(({ key, kind, name, value }) => {
        const shown = kind === "label" ? `${name}: ${value}` : `${name} = ${value}`;
        return <button key={key} class="chip" aria-pressed="true" aria-label={facts.without(shown)} onClick={() => set({ [key]: undefined })}>{shown} ×</button>;
      })}
      <span class="row">
      <TermInput onTerm={([key, value]) => set({ [key]: value })} />
      <FlowChoice label={ofList.flow} size={12} placeholder={ofList.allFlows} value={query.get("flow") ?? ""} onChange={(flow) => set({ flow })} />
      <select aria-label={ofList.time} value={hasPeriod ? BETWEEN : (query.get("last") ?? "")} onChange={(event) => set({ last: event.currentTarget.value || undefined, since: undefined, until: undefined })}>
        <option value="">{ofList.anyTime}</option>
        {Object.entries(ofList.times).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        <option value={BETWEEN}>{ofList.between}</option>
      </select>
      </span>
      {hasPeriod && <Period since={query.get("since") ?? undefined} until={query.get("until") ?? undefined} onChange={(bound, moment) => set({ last: BETWEEN, [bound]: moment })} />}
      {hasFilters && <button class="btn quiet small" onClick={() => go(to("/executions"), { replace: true })}>{facts.clear}</button>}
    </div>
  );
}

function TermInput({ onTerm }: { onTerm: (term: [string, string]) => void }) {
  const text = useSignal("");
  const isBad = useSignal(false);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const term = readTerm(text.value);
        isBad.value = term === undefined;
        if (term === undefined) return;
        text.value = "";
        onTerm(term);
      }}
    >
      <input aria-label={ofList.labelFilter} title={ofList.labelFilter} placeholder={ofList.labelExample} size={19} maxLength={300} pattern=".+[:=].+" aria-invalid={isBad.value} value={text.value} onInput={(event) => { text.value = event.currentTarget.value; isBad.value = false; }} />
    </form>
  );
}

/** What a narrow screen has no columns for. */
function Below({ of: execution }: { of: Execution }) {
  const text = [isShown("startedBy") && execution.parent_id && ofList.bySubFlow, isShown("where") && placeOf(execution)].filter(Boolean).join(" · ");
  return text === "" ? null : <span class="narrow-only small muted cut">{text}</span>;
}

function Rows({ executions, selected }: { executions: Execution[]; selected: Signal<ReadonlySet<string>> }) {
  const canSelect = may("operator");
  const triggers = useTriggers(executions.some(({ trigger }) => trigger !== undefined));
  const hasLabels = isShown("labels") && executions.some(({ labels }) => labels !== undefined);
  const all = executions.every(({ id }) => selected.value.has(id));
  const select = (ids: string[], isOn: boolean) => {
    const next = new Set(selected.value);
    for (const id of ids) if (isOn) next.add(id); else next.delete(id);
    selected.value = next;
  };
  const tick: Column<Execution> = {
    head: <input type="checkbox" aria-label={ofList.selectAll} checked={all} onChange={(event) => select(executions.map(({ id }) => id), event.currentTarget.checked)} />,
    look: "tick",
    cell: ({ id, flow_name: name }) => <input type="checkbox" aria-label={ofList.select(name ?? id)} checked={selected.value.has(id)} onChange={(event) => select([id], event.currentTarget.checked)} />,
  };
  return (
    <Table
      look={hasLabels ? "crowded" : ""}
      rows={executions}
      keyOf={({ id }) => id}
      columns={[
        canSelect && tick,
        ofStatus,
        { head: ofList.flow, look: "name", cell: (execution) => <><a class="cut" data-nav href={to(`/executions/${execution.id}`)} title={execution.flow_name}>{execution.flow_name || shortId(execution.flow_id)}</a><Below of={execution} /></> },
        isShown("where") && ofPlace,
        hasLabels && { head: ofList.labels, look: "spare", cell: ({ labels }) => <LabelTags labels={labels} onChoose={(name, value) => setQuery({ [`label.${name}`]: value, cursor: undefined })} /> },
        isShown("startedBy") && ofStarter(triggers),
        isShown("log") && ofLog,
        isShown("started") && { ...ofStart, sort: { label: texts.started, orders: ["-started_at", OLDEST_FIRST], usual: "-started_at" } },
        isShown("took") && ofDuration,
      ]}
    />
  );
}
