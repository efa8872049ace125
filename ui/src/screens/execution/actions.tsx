/** The dialogs that re-run an execution with edits, cancel it and delete it, loaded when they are opened. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { go, to } from "../../app/router";
import type { RerunProps } from "./rerun";
import { Confirm, Dialog } from "../../parts/dialog";
import { Field } from "../../parts/form";
import { Failure } from "../../parts/parts";
import { useStart } from "../../parts/start";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { deletion as ofDeletion } from "../../texts/deletion";
import { executions as texts } from "../../texts/executions";

type Body = Schemas["RerunBody"];

/** Longer inputs are not edited here: a page with them is slow, and a request takes 1 MiB. */
const MOST_BYTES = 500_000;

export function RerunDialog({ detail, steps, begin, onClose }: RerunProps) {
  const from = useSignal(begin ?? detail.failure?.step ?? "");
  const chosen = steps.find(({ step }) => step === from.value);
  // The whole input, which may be longer than its preview; of the step to begin at, or of the execution.
  const whole = useQuery(`${detail.id} ${from.value}`, async (signal): Promise<{ input: unknown } | undefined> => {
    const path = { id: detail.id };
    if (from.value === "") return api.get("/api/v1/executions/{id}", { path, signal });
    const id = chosen?.id ?? (await api.get("/api/v1/executions/{id}/steps", { path, query: { step: from.value, limit: 1 }, signal })).steps[0]?.id;
    return id === undefined ? undefined : api.get("/api/v1/executions/{id}/steps/{step_id}", { path: { ...path, step_id: id }, signal });
  });
  const text = useSignal<string | undefined>(undefined);
  const revision = useSignal<"current" | "same">("current");
  const fault = useSignal<string | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const starting = useStart();
  const original = whole.data === undefined ? "" : JSON.stringify(whole.data.input ?? null, null, 2);
  const isTooLong = original.length > MOST_BYTES;
  const shown = text.value ?? original;

  function start(): void {
    const body: Body = { revision: revision.value };
    const isWhole = from.value === "";
    if (!isWhole) body.from = from.value;
    // What was not edited stays as it is stored: numbers beyond those of JavaScript, too.
    if (text.value !== undefined && text.value !== original) {
      try {
        const input: unknown = JSON.parse(text.value);
        if (isWhole && (input === null || typeof input !== "object" || Array.isArray(input))) throw new SyntaxError();
        if (isWhole) body.input = input as Record<string, never>;
        else body.node_input = input;
      } catch {
        fault.value = isWhole ? texts.rerunInputFault : texts.rerunNodeInputFault;
        return;
      }
    }
    error.value = undefined;
    starting.run([detail.id, body], async (headers) => {
      const started = await api.post("/api/v1/executions/{id}/rerun", { path: { id: detail.id }, body, headers });
      done(texts.rerunStarted);
      onClose();
      go(to(`/executions/${started.execution_id}`));
    }, (reason) => (error.value = reason));
  }

  return (
    <Dialog
      title={texts.rerunTitle}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{common.cancel}</button>
        <button class="btn primary" disabled={starting.busy || whole.data === undefined} onClick={start}>{from.value === "" ? texts.rerun : texts.rerunFrom(from.value)}</button>
      </>}
    >
      {error.value !== undefined && <Failure error={error.value} />}
      <Field label={texts.rerunBegin} hint={from.value === "" ? undefined : texts.rerunKept}>
        {(id, note) => (
          <select id={id} aria-describedby={note} value={from.value} onChange={(event) => { from.value = event.currentTarget.value; text.value = fault.value = undefined; }}>
            <option value="">{texts.rerunStart}</option>
            {from.value !== "" && !steps.slice(0, 500).some(({ step }) => step === from.value) && <option value={from.value}>{from.value}</option>}
            {steps.slice(0, 500).map(({ id: key, step }) => <option key={key} value={step}>{step}</option>)}
          </select>
        )}
      </Field>
      {whole.error !== undefined && <Failure error={whole.error} retry={whole.reload} />}
      {isTooLong ? <p class="muted small">{texts.rerunTooLong}</p> : whole.error === undefined && (
        <Field label={from.value === "" ? texts.rerunInput : texts.rerunNodeInput(from.value)} fault={fault.value} hint={from.value === "" ? undefined : texts.rerunNodeInputHint}>
          {(id, note) => (
            <textarea id={id} aria-describedby={note} aria-invalid={fault.value !== undefined} rows={8} spellcheck={false} value={shown} disabled={whole.data === undefined}
              onInput={(event) => { text.value = event.currentTarget.value; fault.value = undefined; }} />
          )}
        </Field>
      )}
      <Field label={texts.rerunRevision}>
        {(id) => (
          <select id={id} value={revision.value} onChange={(event) => (revision.value = event.currentTarget.value as "current" | "same")}>
            <option value="current">{texts.rerunCurrent}</option>
            <option value="same">{texts.rerunSame}</option>
          </select>
        )}
      </Field>
    </Dialog>
  );
}

export function CancelDialog({ id, onDone, onClose }: { id: string; onDone: () => Promise<void>; onClose: () => void }) {
  const isForced = useSignal(false);
  const action = useAction();
  async function cancel(): Promise<void> {
    await api.delete("/api/v1/executions/{id}", { path: { id }, query: { force: isForced.value } });
    await onDone();
    done(texts.cancelled);
    onClose();
  }
  return (
    <Confirm title={texts.cancelTitle} action={texts.cancelIt} busy={action.busy} onConfirm={() => action.run(cancel)} onClose={onClose}>
      <p class="muted">{texts.cancelHint}</p>
      <label class="check"><input type="checkbox" checked={isForced.value} onChange={(event) => (isForced.value = event.currentTarget.checked)} />{texts.cancelForce}</label>
    </Confirm>
  );
}

export function DeleteDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const action = useAction();
  async function remove(): Promise<void> {
    await api.delete("/api/v1/executions/{id}/record", { path: { id } });
    onClose();
    go(to("/executions"), { replace: true });
    done(ofDeletion.deleted);
  }
  return (
    <Confirm title={ofDeletion.title} action={ofDeletion.confirm} busy={action.busy} onConfirm={() => action.run(remove)} onClose={onClose}>
      <p>{ofDeletion.hint}</p>
      <p class="muted small">{ofDeletion.audited}</p>
    </Confirm>
  );
}
