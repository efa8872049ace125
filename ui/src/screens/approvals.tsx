/** The inbox: approvals that wait for the reader, in all workspaces. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { COUNTED, countApprovals } from "../app/counts";
import { homeOf, to } from "../app/router";
import { account, workspaces, workspace } from "../app/session";
import { Head } from "../app/shell";
import { shortId } from "../parts/format";
import { Empty, Load, Time } from "../parts/parts";
import { Answering } from "./approvals/answering";
import { ApprovalLink } from "./approvals/link";
import { visible } from "../parts/visible";
import { approvals as texts } from "../texts/approvals";
import { common } from "../texts/common";

export type Approval = Schemas["ApprovalInList"];

export default function Approvals() {
  const limit = useSignal(COUNTED);
  const list = useQuery(`${limit.value}`, (signal) => api.get("/api/v1/approvals", { query: { limit: limit.value }, signal }), 10_000);
  useEffect(() => {
    if (list.data !== undefined) countApprovals(list.data);
  }, [list.data]);
  return (
    <>
      <Head title={texts.title} />
      <div class="content narrow">
        <Load query={list} rows={4}>
          {({ approvals, next }) => (
            <>
              {approvals.length === 0 && <div class="card"><Empty title={texts.empty}><p>{texts.emptyHint}</p><a class="btn" href={to("/executions", { status: "waiting" })}>{texts.toWaiting}</a></Empty></div>}
              <ul class="stack">
                {approvals.map((approval) => <Item key={`${approval.execution_id} ${approval.step}`} approval={approval} onAnswered={list.reload} />)}
              </ul>
              {next !== null && <button class="btn" onClick={() => (limit.value += COUNTED)}>{common.more}</button>}
            </>
          )}
        </Load>
      </div>
    </>
  );
}

function Item({ approval, onAnswered }: { approval: Approval; onAnswered: () => Promise<void> }) {
  const place = workspaces.value.find(({ id }) => id === approval.workspace_id);
  const mayAnswer = place !== undefined && place.role !== "viewer" && account.value?.role !== "viewer";
  return (
    <li class="card padded stack tight">
      <div class="row small muted">
        <a class="link" data-nav href={`${place === undefined ? `/w/${approval.workspace_id}` : homeOf(place)}/executions/${approval.execution_id}`}>{approval.flow_name || shortId(approval.flow_id)}</a>
        {place !== undefined && place.id !== workspace.value?.id && <span class="tag">{place.name}</span>}
        <span>{texts.waitsSince} <Time at={approval.since} /></span>
        {approval.until !== null && <span>{texts.until} <Time at={approval.until} /></span>}
        {approval.needed > 1 && <span>{texts.given(approval.given, approval.needed)}</span>}
      </div>
      <p class="prompt">{visible(approval.prompt)}</p>
      {mayAnswer ? <Answering approval={approval} onAnswered={onAnswered} /> : <p class="muted small">{texts.unanswerable}</p>}
      {approval.link && <ApprovalLink execution={approval.execution_id} step={approval.step} mayRevoke={mayAnswer} onRevoked={onAnswered} />}
    </li>
  );
}
