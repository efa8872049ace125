/** What a step waits for, beside it: an approval with what it asks and its link, or a signal. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { readYaml } from "../../forms/yaml";
import { Field } from "../../parts/form";
import { useStart } from "../../parts/start";
import { done } from "../../parts/toast";
import { approvals as ofApprovals } from "../../texts/approvals";
import { step as texts } from "../../texts/step";
import { may } from "../../app/session";
import type { Detail, Step } from "../../execution/store";
import { visible } from "../../parts/visible";
import { Answering } from "../approvals/answering";
import { ApprovalLink } from "../approvals/link";

export function Answer({ detail, step, reload }: { detail: Detail; step: Step; reload: () => Promise<void> }) {
  const signal = (step.wait?.waiting_for as { type: string; key?: string } | undefined) ?? { type: "" };
  if (signal.type === "signal" && typeof signal.key === "string") return may("operator") ? <SendSignal execution={detail.id} name={signal.key} reload={reload} /> : null;
  const wait = detail.waiting_for?.find((each) => each.step === step.step && each.type === "approval") as { prompt?: string; form?: unknown; link?: boolean } | undefined;
  if (wait === undefined) return null;
  return (
    <section class="stack tight">
      {wait.prompt && <p class="prompt">{visible(wait.prompt)}</p>}
      {may("operator")
        ? <Answering approval={{ execution_id: detail.id, flow_name: detail.flow_name ?? "", step: step.step, form: wait.form }} onAnswered={reload} />
        : <p class="muted">{ofApprovals.unanswerable}</p>}
      {wait.link && <ApprovalLink execution={detail.id} step={step.step} mayRevoke={may("operator")} onRevoked={reload} />}
    </section>
  );
}

/** Return the data of a signal; a fault if the text is neither JSON nor YAML. */
function dataOf(text: string): { data?: unknown; fault?: string } {
  try {
    return { data: text.trim() === "" ? null : readYaml(text) };
  } catch {
    return { fault: texts.signalFault };
  }
}

/** The signal that a step waits for, to be sent by hand: its data are the result of the step. */
function SendSignal({ execution, name, reload }: { execution: string; name: string; reload: () => Promise<void> }) {
  const text = useSignal("");
  const starting = useStart();
  const { data, fault } = dataOf(text.value);
  const send = () => starting.run([name, data], async (headers) => {
    await api.post("/api/v1/executions/{id}/signals/{key}", { path: { id: execution, key: name }, body: { payload: data }, headers });
    done(texts.signalSent(name));
    await reload();
  });
  return (
    <form class="stack tight" onSubmit={(event) => { event.preventDefault(); if (fault === undefined) send(); }}>
      <p>{texts.waitsForSignal} <code class="wrap">{visible(name)}</code></p>
      <Field label={texts.signalData} hint={texts.signalHint} fault={fault}>
        {(id, note) => <textarea id={id} aria-describedby={note} rows={4} spellcheck={false} value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
      </Field>
      <div class="row"><button class="btn primary" disabled={starting.busy || fault !== undefined}>{texts.sendSignal}</button></div>
    </form>
  );
}
