/** An approval that waits, beside its step: what it asks, and the link that answers it. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { may } from "../../app/session";
import type { Detail, Step } from "../../execution/store";
import { Confirm } from "../../parts/dialog";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { visible } from "../../parts/visible";
import { Answering } from "../approvals/answering";
import { executions as texts } from "../../texts/executions";

export function Answer({ detail, step, reload }: { detail: Detail; step: Step; reload: () => Promise<void> }) {
  const asks = useSignal(false);
  const action = useAction();
  const wait = detail.waiting_for?.find((each) => each.step === step.step && each.type === "approval") as { prompt?: string; form?: unknown; link?: boolean } | undefined;
  if (wait === undefined) return null;
  function revoke(): void {
    action.run(async () => {
      await api.delete("/api/v1/executions/{id}/approvals/{node}/link", { path: { id: detail.id, node: step.step } });
      asks.value = false;
      await reload();
      done(texts.linkRevoked);
    });
  }
  return (
    <section class="stack tight">
      {wait.prompt && <p class="prompt">{visible(wait.prompt)}</p>}
      {may("operator") && <Answering approval={{ execution_id: detail.id, flow_name: detail.flow_name ?? "", step: step.step, form: wait.form }} onAnswered={reload} />}
      {wait.link && <div class="row">
        <span class="muted small">{texts.hasLink}</span>
        {may("operator") && <button class="btn" onClick={() => (asks.value = true)}>{texts.revokeLink}</button>}
      </div>}
      {asks.value && (
        <Confirm title={texts.revokeLinkTitle} action={texts.revokeLinkIt} busy={action.busy} onConfirm={revoke} onClose={() => (asks.value = false)}>
          <p class="muted">{texts.revokeLinkHint}</p>
        </Confirm>
      )}
    </section>
  );
}
