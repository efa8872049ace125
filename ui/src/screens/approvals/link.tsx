/** The link that answers an approval beside its members, and its revocation. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { Confirm } from "../../parts/dialog";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { approvals as texts } from "../../texts/approvals";

export function ApprovalLink({ execution, step, mayRevoke, onRevoked }: { execution: string; step: string; mayRevoke: boolean; onRevoked: () => Promise<void> }) {
  const isAsked = useSignal(false);
  const action = useAction();
  async function revoke(): Promise<void> {
    await api.delete("/api/v1/executions/{id}/approvals/{node}/link", { path: { id: execution, node: step } });
    isAsked.value = false;
    await onRevoked();
    done(texts.linkRevoked);
  }
  return (
    <div class="row">
      <span class="muted small">{texts.hasLink}</span>
      {mayRevoke && <button class="btn small-btn" onClick={() => (isAsked.value = true)}>{texts.revokeLink}</button>}
      {isAsked.value && (
        <Confirm title={texts.revokeLinkTitle} action={texts.revokeLinkIt} busy={action.busy} onConfirm={() => action.run(revoke)} onClose={() => (isAsked.value = false)}>
          <p class="muted">{texts.revokeLinkHint}</p>
        </Confirm>
      )}
    </div>
  );
}
