/** The dialogs that re-run an execution with edits and that cancel it, loaded when they are opened. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { go, to } from "../../app/router";
import type { Detail, Step } from "../../execution/store";
import { Confirm, Dialog } from "../../parts/dialog";
import { Field } from "../../parts/form";
import { Failure } from "../../parts/parts";
import { done, failed } from "../../parts/toast";
import { common } from "../../texts/common";
import { executions as texts } from "../../texts/executions";

type Body = Schemas["RerunBody"];

export function RerunDialog({ detail, steps, onClose }: { detail: Detail; steps: Step[]; onClose: () => void }) {
  // The whole input, which may be longer than its preview.
  const whole = useQuery(detail.id, (signal) => api.get("/api/v1/executions/{id}", { path: { id: detail.id }, signal }));
  const text = useSignal<string | undefined>(undefined);
  const from = useSignal(detail.failure?.step ?? "");
  const revision = useSignal<"current" | "same">("current");
  const fault = useSignal<string | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const isBusy = useSignal(false);
  const original = whole.data === undefined ? "" : JSON.stringify(whole.data.input, null, 2);
  const shown = text.value ?? original;

  async function start(): Promise<void> {
    const body: Body = { revision: revision.value };
    if (from.value !== "") body.from = from.value;
    else {
      try {
        const input: unknown = JSON.parse(shown);
        if (input === null || typeof input !== "object" || Array.isArray(input)) throw new SyntaxError();
        body.input = input as Record<string, never>;
      } catch {
        fault.value = texts.rerunInputFault;
        return;
      }
    }
    isBusy.value = true;
    error.value = undefined;
    try {
      const started = await api.post("/api/v1/executions/{id}/rerun", { path: { id: detail.id }, body: body });
      done(texts.rerunStarted);
      onClose();
      go(to(`/executions/${started.execution_id}`));
    } catch (reason) {
      error.value = reason;
    } finally {
      isBusy.value = false;
    }
  }

  return (
    <Dialog
      title={texts.rerunTitle}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{common.cancel}</button>
        <button class="btn primary" disabled={isBusy.value || whole.data === undefined} onClick={() => void start()}>{from.value === "" ? texts.rerun : texts.rerunFrom(from.value)}</button>
      </>}
    >
      {error.value !== undefined && <Failure error={error.value} />}
      <Field label={texts.rerunBegin} hint={from.value === "" ? undefined : texts.rerunKept}>
        {(id, note) => (
          <select id={id} aria-describedby={note} value={from.value} onChange={(event) => (from.value = event.currentTarget.value)}>
            <option value="">{texts.rerunStart}</option>
            {steps.slice(0, 500).map(({ id: key, step }) => <option key={key} value={step}>{step}</option>)}
          </select>
        )}
      </Field>
      {from.value === "" && (
        <Field label={texts.rerunInput} fault={fault.value}>
          {(id, note) => (
            <textarea id={id} aria-describedby={note} aria-invalid={fault.value !== undefined} rows={8} spellcheck={false} value={shown}
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
  const isBusy = useSignal(false);
  async function cancel(): Promise<void> {
    isBusy.value = true;
    try {
      await api.delete("/api/v1/executions/{id}", { path: { id }, query: { force: isForced.value } });
      await onDone();
      done(texts.cancelled);
      onClose();
    } catch (error) {
      failed(error);
    } finally {
      isBusy.value = false;
    }
  }
  return (
    <Confirm title={texts.cancelTitle} action={texts.cancelIt} busy={isBusy.value} onConfirm={() => void cancel()} onClose={onClose}>
      <p class="muted">{texts.cancelHint}</p>
      <label class="check"><input type="checkbox" checked={isForced.value} onChange={(event) => (isForced.value = event.currentTarget.checked)} />{texts.cancelForce}</label>
    </Confirm>
  );
}
