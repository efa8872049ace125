/** Columns of lists of executions. */
import type { Schemas } from "../../api/client";
import { location, to, withQuery } from "../../app/router";
import { causeFirst, causeOf } from "../../parts/causes";
import { duration, now } from "../../parts/format";
import { Status, Time } from "../../parts/parts";
import type { Column } from "../../parts/table";
import { executionList as ofList } from "../../texts/execution-list";
import { executions as texts } from "../../texts/executions";
import { facts } from "../../texts/facts";
import { LogLevels } from "../execution/log-levels";
import { StartedBy, type Triggers } from "./started-by";

export type Execution = Schemas["ExecutionAnswer"];

export const ofStatus: Column<Execution> = { head: ofList.status, cell: ({ status }) => <Status of={status} /> };
export const ofPlace: Column<Execution> = { head: ofList.where, look: "wide-only where", cell: (execution) => <Where of={execution} /> };
export const ofLog: Column<Execution> = { head: texts.log, look: "wide-only", cell: ({ logs }) => logs !== undefined && <LogLevels logs={logs as unknown as Record<string, number>} /> };
export const ofStart: Column<Execution> = { head: texts.started, look: "muted nowrap", cell: ({ started_at: at }) => <Time at={at} /> };
export const ofDuration: Column<Execution> = { head: texts.took, look: "num roomy-only took", cell: ({ duration: took, started_at: at }) => duration(took ?? Math.max(0, now.value - Date.parse(at))) };

export function ofStarter(triggers: Triggers): Column<Execution> {
  return { head: ofList.startedBy, look: "wide-only muted starter", cell: (execution) => <StartedBy of={execution} triggers={triggers} /> };
}

/** Return where it has failed or waits, in one line. */
export function placeOf({ error, failed_node: node, waiting_at: wait }: Execution): string | undefined {
  if (wait !== undefined) return [wait.node, waits(wait)].filter(Boolean).join(" · ");
  return error && `${node ?? ""} · ${causeOf(error).what}`;
}

function waits({ type }: { type: string }): string {
  return ofList.waitsFor(facts.waitsFor[type] ?? type);
}

/** Where it waits, or has failed, and that it has been repaired since. */
function Where({ of: { flow_id: flow, error, failed_node: node, error_type: type, repaired_by: repair, waiting_at: wait } }: { of: Execution }) {
  if (wait !== undefined) return <span class="cut where-text" title={`${wait.node ?? ""} ${waits(wait)}`}>{wait.node && <b>{wait.node} </b>}<span class="muted">{waits(wait)}</span></span>;
  if (error === undefined) return null;
  const { path, query } = location.value;
  const list = to("/executions");
  const alike = withQuery(list, { ...(path === list ? Object.fromEntries(query) : { flow }), error: type ?? undefined, cursor: undefined });
  return (
    <span class="cut where-text" title={causeFirst(error)}>
      {node !== undefined && <><b>{node}</b> </>}{type !== undefined && <><a class="muted" href={alike} title={ofList.onlyError(type)}>{type}</a> · </>}<span class="muted">{causeOf(error).what}</span>
      {repair !== undefined && <> · <a class="link" href={to(`/executions/${repair}`)}>{ofList.repaired}</a></>}
    </span>
  );
}
