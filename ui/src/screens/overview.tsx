/** The overview: what is failing, waiting and running now, and how the flows have been doing. */
import { useEffect, useRef } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { causeFirst, causeOf } from "../parts/causes";
import { count, duration } from "../parts/format";
import { Empty, Failure, Load, Time, toneOf } from "../parts/parts";
import { Table } from "../parts/table";
import { common, statuses } from "../texts/common";
import { overview as texts } from "../texts/overview";
import { Charts } from "./overview/charts";
import { LastResult } from "./overview/last-result";

type Overview = Schemas["OverviewAnswer"];
type Activity = Schemas["FlowActivityAnswer"];
type Numbers = Schemas["HistogramAnswer"];

export default function OverviewScreen() {
  const place = workspace.value?.id ?? "";
  const overview = useQuery(place, (signal) => api.get("/api/v1/overview", { signal }), 5000);
  const numbers = useQuery(place, (signal) => api.get("/api/v1/executions/histogram", { signal }), 30_000);
  // What has ended since is in the numbers at once.
  const ended = overview.data && overview.data.counts.completed + overview.data.counts.failed;
  const before = useRef(ended);
  useEffect(() => {
    if (before.current !== undefined && before.current !== ended) void numbers.reload();
    before.current = ended;
  }, [ended]);
  return (
    <>
      <Head title={texts.title} actions={may("editor") && <a class="btn primary" href={to("/flows/new")}>{texts.newFlow}</a>} />
      <div class="content">
        <Load query={overview} rows={8}>
          {(data) => data.flows.length === 0 ? (
            <div class="card"><Empty title={texts.empty}><p>{texts.emptyHint} {may("editor") ? texts.start : common.forEditors}</p>{may("editor") && <a class="btn primary" href={to("/flows/new")}>{texts.newFlow}</a>}</Empty></div>
          ) : (
            <>
              <Stats overview={data} numbers={numbers.data} />
              {numbers.error && <Failure error={numbers.error} retry={numbers.reload} isAbove={numbers.data !== undefined} />}
              <Charts numbers={numbers.data} />
              <Flows flows={data.flows} />
            </>
          )}
        </Load>
      </div>
    </>
  );
}

function Stats({ overview, numbers }: { overview: Overview; numbers: Numbers | undefined }) {
  const first = overview.flows.find(({ failing }) => failing !== undefined);
  const failing = overview.failing_flows;
  const waiting = overview.waiting[0];
  const sums = sumOf(numbers);
  const share = sums.ended === 0 ? undefined : ((100 * sums.completed) / sums.ended).toFixed(sums.completed === sums.ended ? 0 : 1);
  return (
    <div class="stats">
      <a class="card stat" href={failing === 1 && first !== undefined ? to(`/executions/${first.failing!.execution_id}`) : to("/executions", { status: "failed", unrepaired: failing > 0 ? "1" : undefined })}>
        <span class="muted small">{texts.failing}</span>
        <b class={failing === 0 ? "" : "bad"}>{failing === 0 ? texts.none : texts.flows(failing)}</b>
        <span class="small muted cut">{first !== undefined && <>{first.name}{failing > 1 ? ` ${texts.andMore(failing - 1)}` : first.failing!.failed_at !== undefined && <>, {texts.since} <Time at={first.failing!.failed_at} /></>}</>} </span>
      </a>
      <a class="card stat" href={to("/executions", { status: "waiting" })}>
        <span class="muted small">{texts.waiting}</span>
        <b class={overview.counts.waiting > 0 ? "wait" : ""}>{count(overview.counts.waiting)}</b>
        <span class="small muted cut">{waiting !== undefined && <>{waiting.flow_name}, <Time at={waiting.started_at} how="relative" /></>} </span>
      </a>
      <a class="card stat" href={to("/executions", { status: "running" })}>
        <span class="muted small">{texts.running}</span>
        <b class={overview.counts.running > 0 ? "run" : ""}>{count(overview.counts.running)}</b>
        <span class="small muted cut">{overview.running[0] !== undefined && <>{overview.running[0].flow_name}{overview.counts.running > 1 && ` ${texts.andMore(overview.counts.running - 1)}`}</>} </span>
      </a>
      <a class="card stat" href={to("/executions", { last: "24h" })}>
        <span class="muted small">{texts.day}</span>
        <b>{numbers === undefined ? " " : count(sums.all)}</b>
        <span class="small muted cut">{share === undefined ? texts.noRuns : texts.completed(share)}{numbers?.durations !== undefined && ` · ${texts.p95(duration(numbers.durations.p95))}`}</span>
      </a>
    </div>
  );
}

function sumOf(numbers: Numbers | undefined): { all: number; ended: number; completed: number } {
  const sums = { all: 0, ended: 0, completed: 0 };
  for (const { counts } of numbers?.buckets ?? []) {
    sums.completed += counts.completed;
    sums.ended += counts.completed + counts.failed + counts.cancelled;
    sums.all += counts.completed + counts.failed + counts.cancelled + counts.running + counts.waiting;
  }
  return sums;
}

/** Those that fail first; otherwise in their order. */
function failingFirst(flows: readonly Activity[]): Activity[] {
  return [...flows.filter(({ failing }) => failing !== undefined), ...flows.filter(({ failing }) => failing === undefined)];
}

function Flows({ flows }: { flows: Activity[] }) {
  return (
    <Table
      look=""
      rows={failingFirst(flows)}
      keyOf={({ flow_id: id }) => id}
      columns={[
        { head: texts.flow, look: "name", cell: ({ flow_id: id, name }) => <a class="cut" data-nav href={to(`/flows/${id}`)} title={name}>{name}</a> },
        { head: texts.last, look: "least", cell: ({ executions }) => <Spark executions={executions} /> },
        { head: texts.failedAt, look: "wide-only where", cell: ({ failing }) => failing !== undefined && <a class="where-text cut" href={to(`/executions/${failing.execution_id}`)} title={failing.error && causeFirst(failing.error)}>{failing.failed_node && <b>{failing.failed_node} </b>}<span class="muted">{causeOf(failing.error ?? failing.error_type ?? "").what}</span></a> },
        { head: texts.next, look: "muted nowrap wide-only", cell: ({ next_start_at: at }) => (at === undefined ? common.none : <Time at={at} />) },
        { head: <span title={texts.p50Hint}>{texts.p50}</span>, look: "num spare", cell: ({ durations }) => (durations === undefined ? common.none : duration(durations.p50)) },
        { head: <span title={texts.p95Hint}>p95</span>, look: "num wide-only", cell: ({ durations }) => (durations === undefined ? common.none : duration(durations.p95)) },
        { head: texts.status, cell: ({ flow_id: id, disabled, executions }) => (disabled ? <span class="tag">{texts.disabled}</span> : <LastResult flow={id} executions={executions} />) },
      ]}
    />
  );
}

/** The last executions as bars: as high as they took long, on a logarithmic scale, in the colour of their status. */
function Spark({ executions }: { executions: Activity["executions"] }) {
  const oldestFirst = [...executions].reverse();
  const longest = Math.log1p(Math.max(1, ...oldestFirst.map(({ duration: took }) => took ?? 0)));
  const counted = new Map<string, number>();
  for (const { status } of oldestFirst) counted.set(status, (counted.get(status) ?? 0) + 1);
  const summed = [...counted].map(([status, number]) => `${number} ${statuses[status]}`);
  return (
    <span class="spark" role="img" aria-label={texts.spark(summed.join(", "))}>
      {oldestFirst.map(({ id, status, duration: took }) => (
        <i key={id} class={`s-${toneOf(status)}`} title={`${statuses[status]}${took === undefined ? "" : `, ${duration(took)}`}`} style={{ height: `${took === undefined ? 18 : Math.round(5 + (13 * Math.log1p(took)) / longest)}px` }} />
      ))}
    </span>
  );
}
