/** The inbox: approvals that wait for the reader, in all workspaces. */
import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { counts } from "../app/counts";
import { homeOf } from "../app/router";
import { workspaces, workspace } from "../app/session";
import { Head } from "../app/shell";
import { Empty, Load, Time } from "../parts/parts";
import { done, failed } from "../parts/toast";
import { approvals as texts } from "../texts/approvals";
import { common } from "../texts/common";

export type Approval = Schemas["ApprovalInList"];
const PAGE = 50;

export default function Approvals() {
  const limit = useSignal(PAGE);
  const list = useQuery(`${limit.value}`, (signal) => api.get("/api/v1/approvals", { query: { limit: limit.value }, signal }), 10_000);
  useEffect(() => {
    if (list.data === undefined) return;
    const { length } = list.data.approvals;
    counts.value = { ...counts.peek(), "/approvals": length === 0 ? "" : `${length}${list.data.next === null ? "" : "+"}` };
  }, [list.data]);
  return (
    <>
      <Head title={texts.title} />
      <div class="content narrow">
        <Load query={list} rows={4}>
          {({ approvals, next }) => (
            <>
              {approvals.length === 0 && <div class="card"><Empty title={texts.empty}><p>{texts.emptyHint}</p></Empty></div>}
              <ul class="stack">
                {approvals.map((approval) => <Item key={`${approval.execution_id} ${approval.step}`} approval={approval} onAnswered={list.reload} />)}
              </ul>
              {next !== null && <button class="btn" onClick={() => (limit.value += PAGE)}>{texts.more}</button>}
            </>
          )}
        </Load>
      </div>
    </>
  );
}

function Item({ approval, onAnswered }: { approval: Approval; onAnswered: () => Promise<void> }) {
  const isBusy = useSignal(false);
  const isOpen = useSignal(false);
  const place = workspaces.value.find(({ id }) => id === approval.workspace_id);
  const mayAnswer = place !== undefined && place.role !== "viewer";

  async function answer(approved: boolean, data?: unknown): Promise<void> {
    isBusy.value = true;
    try {
      // The key makes a repetition of the same answer harmless.
      const headers = { "Idempotency-Key": crypto.randomUUID() };
      await api.post("/api/v1/executions/{id}/approvals/{node}", { path: { id: approval.execution_id, node: approval.step }, body: { approved, ...(data === undefined ? {} : { data }) }, headers });
      done(approved ? texts.approved : texts.rejected);
      await onAnswered();
    } catch (error) {
      failed(error);
    } finally {
      isBusy.value = false;
    }
  }

  const hasForm = approval.form !== null && approval.form !== undefined;
  return (
    <li class="card padded stack tight">
      <div class="row small muted">
        <a class="link" data-nav href={`${place === undefined ? `/w/${approval.workspace_id}` : homeOf(place)}/executions/${approval.execution_id}`}>{approval.flow_name || approval.flow_id}</a>
        {place !== undefined && place.id !== workspace.value?.id && <span class="tag">{place.name}</span>}
        <span>{texts.waitsSince} <Time at={approval.since} /></span>
        {approval.until !== null && <span>{texts.until} <Time at={approval.until} /></span>}
        {approval.needed > 1 && <span>{texts.given(approval.given, approval.needed)}</span>}
      </div>
      <p class="prompt">{approval.prompt}</p>
      {!mayAnswer && <p class="muted small">{texts.unanswerable}</p>}
      {mayAnswer && hasForm && isOpen.value && <LazyForm approval={approval} busy={isBusy.value} onAnswer={(data) => void answer(true, data)} onReject={() => void answer(false)} />}
      {mayAnswer && !(hasForm && isOpen.value) && (
        <div class="row">
          <button class="btn primary" disabled={isBusy.value} onClick={() => (hasForm ? (isOpen.value = true) : void answer(true))}>{hasForm ? texts.answer : texts.approve}</button>
          <button class="btn" disabled={isBusy.value} onClick={() => void answer(false)}>{texts.reject}</button>
        </div>
      )}
    </li>
  );
}

export interface FormProps {
  approval: Approval;
  busy: boolean;
  onAnswer: (data: unknown) => void;
  onReject: () => void;
}

/** Forms are loaded when one is opened. */
function LazyForm(props: FormProps) {
  const form = useSignal<ComponentType<FormProps> | undefined>(undefined);
  useEffect(() => {
    void import("./approvals/form").then((module) => (form.value = module.ApprovalForm));
  }, []);
  const Form = form.value;
  return Form === undefined ? <p class="muted">{common.loading}</p> : <Form {...props} />;
}
