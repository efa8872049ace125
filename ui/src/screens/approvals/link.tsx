/** The link that answers an approval beside its members, and its revocation. */
import { api } from "../../api/client";
import { useQuestion } from "../../parts/dialog";
import { approvals as texts } from "../../texts/approvals";

export function ApprovalLink({ execution, step, mayRevoke, onRevoked }: { execution: string; step: string; mayRevoke: boolean; onRevoked: () => Promise<void> }) {
  const { ask, question } = useQuestion();
  const revoke = () => ask({
    title: texts.revokeLinkTitle, action: texts.revokeLinkIt, hint: texts.revokeLinkHint, said: texts.linkRevoked,
    run: () => api.delete("/api/v1/executions/{id}/approvals/{node}/link", { path: { id: execution, node: step } }).then(onRevoked),
  });
  return (
    <div class="row">
      <span class="muted small">{texts.hasLink}</span>
      {mayRevoke && <button class="btn small-btn" onClick={revoke}>{texts.revokeLink}</button>}
      {question}
    </div>
  );
}
