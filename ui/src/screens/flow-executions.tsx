/** The executions of one flow, the newest first. */
import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { NotFound } from "../app/not-found";
import { location, to, type Parameters } from "../app/router";
import { may } from "../app/session";
import { shortId } from "../parts/format";
import { later } from "../parts/later";
import { Pager } from "../parts/pager";
import { Empty, Load } from "../parts/parts";
import { Table } from "../parts/table";
import { common } from "../texts/common";
import { facts } from "../texts/facts";
import { flow as words } from "../texts/flow";
import { ofDuration, ofLog, ofPlace, ofStart, ofStarter, ofStatus } from "./executions/columns";
import { useTriggers } from "./executions/started-by";
import { FlowHead } from "./flow/head";
import { Charts } from "./overview/charts";
import { loadFlow, type Saved } from "./flow/saved";

const PAGE = 50;
const RunDialog = later<{ flow: Saved["flow"]; definition: string; onClose: () => void }>(() => import("./flow/run").then((module) => module.RunDialog), { isAbove: true });

export default function FlowExecutions({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const cursor = location.value.query.get("cursor") ?? "";
  const flow = useQuery(id, (signal) => loadFlow(id, signal));
  const list = useQuery(`${id} ${cursor}`, (signal) => api.get("/api/v1/executions", { query: { flow_id: id, limit: PAGE, cursor }, signal }), 5000);
  const numbers = useQuery(id, (signal) => api.get("/api/v1/executions/histogram", { query: { flow_id: id }, signal }), 30_000);
  const isAsked = useSignal(false);
  const triggers = useTriggers(list.data?.executions.some(({ trigger }) => trigger !== undefined) ?? false);
  const executions = list.data?.executions;
  // The executions of a deleted flow are kept for a while.
  if (flow.error?.status === 404 && executions?.length === 0) return <NotFound />;
  return (
    <>
      <FlowHead id={id} flow={flow} name={flow.data?.flow.name ?? executions?.[0]?.flow_name ?? " "} actions={<>
        <a class="btn" href={to("/executions", { flow: id })}>{words.allFilters}</a>
        {flow.data !== undefined && may("operator") && <button class="btn primary" onClick={() => (isAsked.value = true)}>{words.run}</button>}
      </>} />
      <div class="content">
        <Load query={list} rows={10}>
          {({ executions, next_cursor: next }) =>
            executions.length === 0 ? (
              <div class="card"><Empty title={facts.empty}><p>{words.neverRan}</p><a class="btn primary" href={to(`/flows/${encodeURIComponent(id)}`)}>{may("editor") ? words.openEditor : words.readFlow}</a></Empty></div>
            ) : (
              <>
                {cursor === "" && <Charts numbers={numbers.data} flow={id} />}
                <Table
                  look=""
                  rows={executions}
                  keyOf={({ id }) => id}
                  columns={[
                    ofStatus,
                    { head: words.execution, look: "name nowrap", cell: ({ id }) => <a class="mono" data-nav href={to(`/executions/${id}`)} title={id}>{shortId(id)}</a> },
                    ofPlace,
                    ofStarter(triggers),
                    ofLog,
                    { head: words.revisionShort, look: "num roomy-only", cell: ({ revision }) => <a class="link" href={to(`/flows/${encodeURIComponent(id)}/revisions`, { number: String(revision ?? "") })}>{revision}</a> },
                    ofStart,
                    ofDuration,
                  ]}
                />
                <Pager next={next} label={common.older} />
              </>
            )
          }
        </Load>
      </div>
      {isAsked.value && <RunDialog flow={flow.data!.flow} definition={flow.data!.flow.definition} onClose={() => (isAsked.value = false)} />}
    </>
  );
}
