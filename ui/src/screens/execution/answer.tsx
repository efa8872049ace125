/** An approval that waits, beside its step: what it asks, and the link that answers it. */
import { may } from "../../app/session";
import type { Detail, Step } from "../../execution/store";
import { visible } from "../../parts/visible";
import { Answering } from "../approvals/answering";
import { ApprovalLink } from "../approvals/link";

export function Answer({ detail, step, reload }: { detail: Detail; step: Step; reload: () => Promise<void> }) {
  const wait = detail.waiting_for?.find((each) => each.step === step.step && each.type === "approval") as { prompt?: string; form?: unknown; link?: boolean } | undefined;
  if (wait === undefined) return null;
  return (
    <section class="stack tight">
      {wait.prompt && <p class="prompt">{visible(wait.prompt)}</p>}
      {may("operator") && <Answering approval={{ execution_id: detail.id, flow_name: detail.flow_name ?? "", step: step.step, form: wait.form }} onAnswered={reload} />}
      {wait.link && <ApprovalLink execution={detail.id} step={step.step} mayRevoke={may("operator")} onRevoked={reload} />}
    </section>
  );
}
