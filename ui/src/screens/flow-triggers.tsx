/** The triggers of one flow. */
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { NotFound } from "../app/not-found";
import { to, type Parameters } from "../app/router";
import { may } from "../app/session";
import { Empty, Load } from "../parts/parts";
import { flow as words } from "../texts/flow";
import { triggers as texts } from "../texts/triggers";
import { FlowHead } from "./flow/head";
import { loadFlow } from "./flow/saved";
import { TriggerTable } from "./triggers/table";

export default function FlowTriggers({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const flow = useQuery(id, (signal) => loadFlow(id, signal));
  const list = useQuery(id, (signal) => api.get("/api/v1/triggers", { query: { flow_id: id, limit: 1000 }, signal }), 15_000);
  if (flow.error?.status === 404) return <NotFound />;
  const editor = `/flows/${encodeURIComponent(id)}`;
  const additions = may("editor") && (
    <>
      <a class="btn" href={to(editor, { add: "schedule" })}>{texts.addSchedule}</a>
      <a class="btn" href={to(editor, { add: "webhook" })}>{texts.addWebhook}</a>
    </>
  );
  return (
    <>
      <FlowHead id={id} flow={flow} actions={list.data !== undefined && list.data.triggers.length > 0 && additions} />
      <div class="content">
        <Load query={list} rows={4}>
          {({ triggers }) =>
            triggers.length === 0 ? (
              <div class="card"><Empty title={texts.none}><p>{texts.noneHint}</p>{additions ? <div class="row">{additions}</div> : <a class="btn" href={to(editor)}>{words.readFlow}</a>}</Empty></div>
            ) : (
              <TriggerTable triggers={triggers} reload={list.reload} />
            )
          }
        </Load>
      </div>
    </>
  );
}
