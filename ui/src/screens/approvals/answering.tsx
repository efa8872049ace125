/** The answer to an approval: at once, or by its form, which is loaded when it is opened. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { uniqueName } from "../../app/unique";
import { fieldFaults } from "../../parts/field-faults";
import { later } from "../../parts/later";
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
  onReject: () => void;
}

export function Answering({ approval, onAnswered }: { approval: Answerable; onAnswered: () => Promise<void> }) {
  const isBusy = useSignal(false);
  const isOpen = useSignal(false);
  const refused = useSignal<ReadonlyMap<string, string>>(new Map());

  async function answer(approved: boolean, data?: unknown): Promise<void> {
    isBusy.value = true;
    try {
      // The key makes a repetition of the same answer harmless.
      const headers = { "Idempotency-Key": uniqueName() };
      await api.post("/api/v1/executions/{id}/approvals/{node}", { path: { id: approval.execution_id, node: approval.step }, body: { approved, ...(data === undefined ? {} : { data }) }, headers });
      done(approved ? texts.approved : texts.rejected);
      await onAnswered();
    } catch (error) {
      refused.value = fieldFaults(error, { below: "data" });
      if (refused.value.size === 0) failed(error);
    } finally {
      isBusy.value = false;
    }
  }

  const hasForm = approval.form !== null && approval.form !== undefined;
  if (hasForm && isOpen.value) return <LazyForm approval={approval} busy={isBusy.value} refused={refused.value} onAnswer={(data) => void answer(true, data)} onReject={() => void answer(false)} />;
  return (
    <div class="row">
      <button class="btn primary" disabled={isBusy.value} onClick={() => (hasForm ? (isOpen.value = true) : void answer(true))}>{hasForm ? texts.answer : texts.approve}</button>
      <button class="btn" disabled={isBusy.value} onClick={() => void answer(false)}>{texts.reject}</button>
    </div>
  );
}

const LazyForm = later<FormProps>(() => import("./form").then((module) => module.ApprovalForm));
