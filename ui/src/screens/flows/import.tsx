/** The import of flows from a zip archive, as an export writes it: shown first, then done. */
import { useSignal } from "@preact/signals";
import type { Schemas } from "../../api/client";
import { sendFile } from "../../api/files";
import { Dialog } from "../../parts/dialog";
import { Failure } from "../../parts/parts";
import { Prose } from "../../parts/prose";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { flows as texts } from "../../texts/flows";

type Flow = Schemas["DeployedFlow"];

export function ImportDialog({ onImported, onClose }: { onImported: () => Promise<void>; onClose: () => void }) {
  const file = useSignal<File | undefined>(undefined);
  const plan = useSignal<Flow[] | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  const send = async (isDry: boolean) => (await sendFile("/api/v1/flows/import", file.peek()!, "application/zip", { query: { dry_run: isDry } })).flows;
  function choose(chosen: File | undefined): void {
    file.value = chosen;
    plan.value = error.value = undefined;
    if (chosen !== undefined) action.run(async () => void (plan.value = await send(true)), (reason) => (error.value = reason));
  }
  function start(): void {
    action.run(async () => {
      const { length } = (await send(false)).filter((flow) => flow.action !== "none");
      await onImported();
      done(texts.imported(length));
      onClose();
    }, (reason) => (error.value = reason));
  }
  return (
    <Dialog
      title={texts.importTitle}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{common.cancel}</button>
        <button class="btn primary" disabled={action.busy || plan.value === undefined || plan.value.every((flow) => flow.action === "none")} onClick={start}>{texts.importIt}</button>
      </>}
    >
      <p class="muted"><Prose text={texts.importHint} /></p>
      <input type="file" accept=".zip,application/zip" aria-label={texts.archive} onChange={(event) => choose(event.currentTarget.files?.[0])} />
      {error.value !== undefined && <Failure error={error.value} />}
      {plan.value !== undefined && (
        <ul class="card lines" aria-label={texts.plan}>
          {plan.value.map(({ name, action: what, missing_secrets: secrets = [], missing_flows: flows = [] }) => (
            <li key={name} class="row">
              <span class="grow cut" title={name}>{name}</span>
              <span class="muted small">{texts.planned[what]}</span>
              {secrets.length > 0 && <span class="small wait wrap">{texts.missingSecrets(secrets.join(", "))}</span>}
              {flows.length > 0 && <span class="small wait wrap">{texts.missingFlows(flows.join(", "))}</span>}
            </li>
          ))}
        </ul>
      )}
    </Dialog>
  );
}
