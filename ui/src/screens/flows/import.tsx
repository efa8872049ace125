/** The import of flows from documents and from zip archives as an export writes them: shown first, then done, all of them or none. */
import { useSignal } from "@preact/signals";
import { parse } from "yaml";
import { api, ApiError, type Schemas } from "../../api/client";
import { isMap } from "../../graph/document";
import { Dialog } from "../../parts/dialog";
import { Failure } from "../../parts/parts";
import { Prose } from "../../parts/prose";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { flows as texts } from "../../texts/flows";
import { filesIn } from "./archive";

type Flow = Schemas["DeployedFlow"];

interface Written {
  /** The name of the file. */
  file: string;
  name: string;
  definition: string;
}

/** Return a document with the name in its metadata; without one, that of its file, as `flowrunner apply` does. */
async function documentOf(file: File): Promise<Written> {
  const definition = await file.text();
  let document: unknown;
  try {
    document = parse(definition);
  } catch {
    // The server says what is wrong, and where.
  }
  const own = isMap(document) && isMap(document.metadata) ? document.metadata.name : undefined;
  return { file: file.name, name: typeof own === "string" && own !== "" ? own : file.name.replace(/\.\w+$/, ""), definition };
}

/** Return the documents of an archive, whose files have the names of their flows. */
async function documentsIn(archive: File): Promise<Written[]> {
  try {
    return (await filesIn(archive)).map(({ name, text }) => ({ file: `${archive.name}: ${name}`, name: decodeURIComponent(name.replace(/\.yaml$/, "")), definition: text }));
  } catch {
    throw new ApiError(0, "archive", texts.noArchive(archive.name));
  }
}

/** Return the error with the names of the files that its faults are in. */
function withFiles(error: unknown, written: readonly Written[]): unknown {
  for (const fault of error instanceof ApiError ? error.details.errors ?? [] : []) {
    const number = /^\/flows\/(\d+)\//.exec(fault.pointer)?.[1];
    if (number !== undefined) fault.path = [written[Number(number)]?.file, fault.path].filter(Boolean).join(": ");
  }
  return error;
}

async function send(files: readonly File[], isDry: boolean): Promise<Flow[]> {
  const written = (await Promise.all(files.map((file) => (/\.zip$/i.test(file.name) ? documentsIn(file) : documentOf(file))))).flat();
  const flows = written.map(({ name, definition }) => ({ name, definition }));
  const found = await api.post("/api/v1/flows:batch", { query: { dry_run: isDry }, body: { flows } }).catch((error: unknown) => {
    throw withFiles(error, written);
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
