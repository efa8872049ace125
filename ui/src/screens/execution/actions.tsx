/** The dialogs that re-run an execution with edits, cancel it and delete it, loaded when they are opened. */
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { api, ApiError, type Schemas } from "../../api/client";
import { parseJson } from "../../api/json";
import { useQuery } from "../../api/query";
import { go, to } from "../../app/router";
import { hasFailedElements, type ExecutionStore } from "../../execution/store";
import { readable, turnsOf } from "../../execution/names";
import type { RerunProps } from "./rerun";
import { Confirm, Dialog } from "../../parts/dialog";
import { Field } from "../../parts/form";
import { Failure } from "../../parts/parts";
import { useStart } from "../../parts/start";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { actions as ofActions } from "../../texts/execution-actions";
import { executions as texts } from "../../texts/executions";

type Body = Schemas["RerunBody"];

/** Longer inputs are not edited here: a page with them is slow, and a request takes 1 MiB. */
const MOST_BYTES = 500_000;

export function RerunDialog({ detail, steps, begin, onClose }: RerunProps) {
  const from = useSignal(begin ?? detail.failure?.step ?? "");
  const chosen = steps.find(({ step }) => step === from.value);
  const turns = turnsOf(steps);
  // The whole input, which may be longer than its preview; of the step to begin at, or of the execution.
  const whole = useQuery(`${detail.id} ${from.value}`, async (signal): Promise<{ of: string; input: unknown }> => {
    const [path, of] = [{ id: detail.id }, from.peek()];
    if (of === "") return { of, input: (await api.get("/api/v1/executions/{id}", { path, signal })).input };
    const id = chosen?.id ?? (await api.get("/api/v1/executions/{id}/steps", { path, query: { step: of, limit: 1 }, signal })).steps[0]?.id;
    if (id === undefined) throw new ApiError(404, "not_found", common.notFound, common.notFoundHint);
    return { of, input: (await api.get("/api/v1/executions/{id}/steps/{step_id}", { path: { ...path, step_id: id }, signal })).input };
  });
  // Until its input is there, that of another step is neither shown nor edited.
  const loaded = whole.data?.of === from.value ? whole.data : undefined;
  const text = useSignal<string | undefined>(undefined);
  const isOfFailed = useSignal(false);
  const elements = isOfFailed.value && hasFailedElements(chosen) ? "failed" : undefined;
  const revision = useSignal<"current" | "same">("current");
  const fault = useSignal<string | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const starting = useStart();
  const form = useId();
  const original = loaded === undefined ? "" : JSON.stringify(loaded.input ?? null, null, 2);
  const isTooLong = original.length > MOST_BYTES;
  const shown = text.value ?? original;

  function start(): void {
    const body: Body = { revision: revision.value };
    const isWhole = from.value === "";
    if (!isWhole) body.from = from.value;
    // What was not edited stays as it is stored.
    if (elements !== undefined) body.elements = elements;
    else if (text.value !== undefined && text.value !== original) {
      try {
        const input = parseJson(text.value);
        if (isWhole && (input === null || typeof input !== "object" || Array.isArray(input))) throw new SyntaxError();
        if (isWhole) body.input = input as Record<string, never>;
        else body.node_input = input;
      } catch {
        fault.value = isWhole ? ofActions.rerunInputFault : ofActions.rerunNodeInputFault;
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
      title={ofActions.rerunTitle}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{common.cancel}</button>
        <button class="btn primary" type="submit" form={form} disabled={starting.busy || loaded === undefined}><span class="cut">{from.value === "" ? texts.rerun : texts.rerunFrom(readable(from.value, turns))}</span></button>
      </>}
    >
      <form id={form} class="stack" onSubmit={(event) => { event.preventDefault(); start(); }}>
        {error.value !== undefined && <Failure error={error.value} />}
        <Field label={ofActions.rerunBegin} hint={from.value === "" ? undefined : ofActions.rerunKept}>
          {(id, note) => (
            <select id={id} aria-describedby={note} value={from.value} onChange={(event) => { from.value = event.currentTarget.value; text.value = fault.value = undefined; }}>
              <option value="">{ofActions.rerunStart}</option>
              {from.value !== "" && !steps.slice(0, 500).some(({ step }) => step === from.value) && <option value={from.value}>{readable(from.value, turns)}</option>}
              {steps.slice(0, 500).map(({ id: key, step }) => <option key={key} value={step}>{readable(step, turns)}</option>)}
            </select>
          )}
        </Field>
        {hasFailedElements(chosen) && <label class="check"><input type="checkbox" checked={isOfFailed.value} onChange={(event) => (isOfFailed.value = event.currentTarget.checked)} />{ofActions.rerunOfFailed(chosen!.scopes!.failed)}</label>}
        {whole.error !== undefined && <Failure error={whole.error} retry={whole.reload} />}
        {elements !== undefined ? null : isTooLong ? <p class="muted small">{ofActions.rerunTooLong}</p> : whole.error === undefined && (
          <Field label={from.value === "" ? ofActions.rerunInput : ofActions.rerunNodeInput(readable(from.value, turns))} fault={fault.value} hint={from.value === "" ? undefined : ofActions.rerunNodeInputHint}>
            {(id, note) => (
              <textarea id={id} aria-describedby={note} aria-invalid={fault.value !== undefined} rows={8} spellcheck={false} value={shown} disabled={loaded === undefined}
                onInput={(event) => { text.value = event.currentTarget.value; fault.value = undefined; }} />
            )}
          </Field>
        )}
        <Field label={ofActions.rerunRevision}>
          {(id) => (
            <select id={id} value={revision.value} onChange={(event) => (revision.value = event.currentTarget.value as "current" | "same")}>
              <option value="current">{ofActions.rerunCurrent}</option>
              <option value="same">{ofActions.rerunSame}</option>
            </select>
          )}
        </Field>
      </form>
    </Dialog>
  );
}

export function CancelDialog({ store, onClose }: { store: ExecutionStore; onClose: () => void }) {
  const isForced = useSignal(false);
  const action = useAction();
  // Without a graph, nothing is known of them.
  const hasHandlers = store.graph.value?.nodes.some((node) => node.handles !== undefined) ?? true;
  async function cancel(): Promise<void> {
    await api.delete("/api/v1/executions/{id}", { path: { id: store.id }, query: { force: isForced.value } });
    await store.load();
    done(ofActions.cancelled);
    onClose();
  }
  return (
    <Confirm title={ofActions.cancelTitle} action={ofActions.cancelIt} keep={ofActions.keepRunning} busy={action.busy} onConfirm={() => action.run(cancel)} onClose={onClose}>
      <p class="muted">{ofActions.cancelHint}{hasHandlers && ofActions.cancelFinishes}</p>
      {hasHandlers && <label class="check"><input type="checkbox" checked={isForced.value} onChange={(event) => (isForced.value = event.currentTarget.checked)} />{ofActions.cancelForce}</label>}
    </Confirm>
  );
}

export function DeleteDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const action = useAction();
  async function remove(): Promise<void> {
    await api.delete("/api/v1/executions/{id}/record", { path: { id } });
    onClose();
    go(to("/executions"), { replace: true });
    done(ofActions.deleted);
  }
  return (
    <Confirm title={ofActions.deleteTitle} action={ofActions.deleteIt} busy={action.busy} onConfirm={() => action.run(remove)} onClose={onClose}>
      <p>{ofActions.deleteHint}</p>
      <p class="muted small">{ofActions.deleteAudited}</p>
    </Confirm>
  );
}
