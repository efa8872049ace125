/** The import of flows from documents, or from a zip archive as an export writes it: shown first, then done, all of them or none. */
import { useSignal } from "@preact/signals";
import { parse } from "yaml";
import { api, ApiError, type Schemas } from "../../api/client";
import { sendFile } from "../../api/files";
import { isMap } from "../../graph/document";
import { Dialog } from "../../parts/dialog";
import { Failure } from "../../parts/parts";
import { Prose } from "../../parts/prose";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { flows as texts } from "../../texts/flows";

type Flow = Schemas["DeployedFlow"];

const isArchive = ({ name }: File) => /\.zip$/i.test(name);

/** Return a document with the name in its metadata; without one, that of its file, as `flowrunner apply` does. */
async function documentOf(file: File): Promise<{ name: string; definition: string }> {
  const definition = await file.text();
  let document: unknown;
  try {
    document = parse(definition);
  } catch {
    // The server says what is wrong, and where.
  }
  const own = isMap(document) && isMap(document.metadata) ? document.metadata.name : undefined;
  return { name: typeof own === "string" && own !== "" ? own : file.name.replace(/\.\w+$/, ""), definition };
}

/** Return the error with the names of the files that its faults are in. */
function withFiles(error: unknown, files: readonly File[]): unknown {
  for (const fault of error instanceof ApiError ? error.details.errors ?? [] : []) {
    const number = /^\/flows\/(\d+)\//.exec(fault.pointer)?.[1];
    if (number !== undefined) fault.path = [files[Number(number)]?.name, fault.path].filter(Boolean).join(": ");
  }
  return error;
}

/** Send one request, so that all of the flows are saved or none. */
async function send(files: readonly File[], isDry: boolean): Promise<Flow[]> {
  const query = { dry_run: isDry };
  const archive = files.find(isArchive);
  if (archive !== undefined) {
    if (files.length > 1) throw new ApiError(0, "archive", texts.oneArchive(archive.name));
    return (await sendFile("/api/v1/flows/import", archive, "application/zip", { query })).flows;
  }
  const flows = await Promise.all(files.map(documentOf));
  const found = await api.post("/api/v1/flows:batch", { query, body: { flows } }).catch((error: unknown) => {
    throw withFiles(error, files);
  });
  return found.flows;
}

export function ImportDialog({ onImported, onClose }: { onImported: () => Promise<void>; onClose: () => void }) {
  const files = useSignal<readonly File[]>([]);
  const plan = useSignal<Flow[] | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  function choose(chosen: readonly File[]): void {
    files.value = chosen;
    plan.value = error.value = undefined;
    if (chosen.length > 0) action.run(async () => void (plan.value = await send(chosen, true)), (reason) => (error.value = reason));
  }
  function start(): void {
    action.run(async () => {
      const { length } = (await send(files.peek(), false)).filter((flow) => flow.action !== "none");
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
      <input type="file" multiple accept=".yaml,.yml,.json,.zip" aria-label={texts.files} onChange={(event) => choose([...(event.currentTarget.files ?? [])])} />
      {error.value !== undefined && <Failure error={error.value} />}
      {plan.value !== undefined && (
        <ul class="card lines" aria-label={texts.plan}>
          {plan.value.map(({ name, action: what, missing_secrets: secrets = [], missing_config: values = [], missing_flows: flows = [] }) => (
            <li key={name} class="row">
              <span class="grow cut" title={name}>{name}</span>
              <span class="muted small">{texts.planned[what]}</span>
              {secrets.length > 0 && <span class="small wait wrap">{texts.missingSecrets(secrets.join(", "))}</span>}
              {values.length > 0 && <span class="small wait wrap">{texts.missingConfig(values.join(", "))}</span>}
              {flows.length > 0 && <span class="small wait wrap">{texts.missingFlows(flows.join(", "))}</span>}
            </li>
          ))}
        </ul>
      )}
    </Dialog>
  );
}
