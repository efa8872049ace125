/** The answer to an approval: at once, or by its form, which is loaded when it is opened. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { recountApprovals } from "../../app/counts";
import { fieldFaults } from "../../parts/field-faults";
import { later } from "../../parts/later";
import { useStart } from "../../parts/start";
import { done, failed } from "../../parts/toast";
import { approvals as texts } from "../../texts/approvals";

export interface Answerable {
  execution_id: string;
  flow_name: string;
  step: string;
  form?: unknown;
}

export interface FormProps {
  approval: Answerable;
  busy: boolean;
  /** What the server says of the fields of the last answer. */
  refused: ReadonlyMap<string, string>;
  onAnswer: (data: unknown) => void;
  onReject: (data?: unknown) => void;
}

export function Answering({ approval, onAnswered }: { approval: Answerable; onAnswered: () => Promise<void> }) {
  const starting = useStart();
  const isOpen = useSignal(false);
  const refused = useSignal<ReadonlyMap<string, string>>(new Map());

  function answer(approved: boolean, data?: unknown): void {
    const body = { approved, ...(data === undefined ? {} : { data }) };
    starting.run([approval.execution_id, approval.step, body], async (headers) => {
      await api.post("/api/v1/executions/{id}/approvals/{node}", { path: { id: approval.execution_id, node: approval.step }, body, headers });
      done(approved ? texts.approved : texts.rejected);
      await onAnswered();
      // The inbox counts what it loads.
      void recountApprovals().catch(() => {});
    }, (error) => {
      refused.value = fieldFaults(error, { below: "data" });
      if (refused.value.size === 0) failed(error);
    });
  }

  const hasForm = approval.form !== null && approval.form !== undefined;
  if (hasForm && isOpen.value) return <LazyForm approval={approval} busy={starting.busy} refused={refused.value} onAnswer={(data) => answer(true, data)} onReject={(data) => answer(false, data)} />;
  return (
    <div class="row">
      <button class="btn primary" disabled={starting.busy} onClick={() => (hasForm ? (isOpen.value = true) : answer(true))}>{hasForm ? texts.approveByForm : texts.approve}</button>
      <button class="btn" disabled={starting.busy} onClick={() => answer(false)}>{texts.reject}</button>
    </div>
  );
}

const LazyForm = later<FormProps>(() => import("./form").then((module) => module.ApprovalForm));
