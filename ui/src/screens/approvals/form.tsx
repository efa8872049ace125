/** The form of an approval, made from the JSON Schema of its node. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { SchemaField } from "../../forms/field";
import { fieldOf, textOf, valueOf, type FormField } from "../../forms/fields";
import { visible } from "../../parts/visible";
import { isMap } from "../../graph/document";
import { approvals as texts } from "../../texts/approvals";
import { forms as words } from "../../texts/forms";
import type { FormProps } from "./answering";

export function ApprovalForm({ approval, busy, refused, onAnswer, onReject }: FormProps) {
  const fields = fieldsOf(approval.form);
  const begun = Object.fromEntries(fields.map(([key, field]) => [key, textOf(field, field.default)]));
  const written = useSignal<Record<string, string>>(begun);
  const faults = useSignal<Record<string, string>>({});
  const form = useRef<HTMLFormElement>(null);
  // Before anybody can type into another field.
  useLayoutEffect(() => {
    form.current?.querySelector<HTMLElement>("input, select, textarea, button")?.focus();
  }, []);
  function answer(approved: boolean): void {
    // A rejection needs no data, but keeps what was written.
    if (!approved && fields.every(([key]) => written.value[key] === begun[key])) return onReject();
    const data: Record<string, unknown> = {};
    const found: Record<string, string> = {};
    for (const [key, field] of fields) {
      const typed = valueOf(field, written.value[key] ?? "");
      if ("fault" in typed) found[key] = typed.fault;
      else if (typed.value !== undefined) data[key] = typed.value;
      else if (approved && field.isRequired) found[key] = words.missing;
    }
    faults.value = found;
    if (Object.keys(found).length === 0) (approved ? onAnswer : onReject)(data);
  }
  return (
    <form ref={form} class="stack" aria-label={texts.formOf(approval.flow_name)} onSubmit={(event) => { event.preventDefault(); answer(true); }} noValidate>
      {fields.map(([key, field]) => (
        <SchemaField key={key} field={field} text={written.value[key] ?? ""} fault={faults.value[key] ?? refused.get(key)} onText={(text) => (written.value = { ...written.peek(), [key]: text })} />
      ))}
      <div class="row">
        <button class="btn primary" disabled={busy}>{texts.approve}</button>
        <button class="btn" type="button" disabled={busy} onClick={() => answer(false)}>{texts.reject}</button>
      </div>
    </form>
  );
}

/** The fields by their key, named by their titles. */
function fieldsOf(form: unknown): [string, FormField][] {
  if (!isMap(form) || !isMap(form.properties)) return [];
  const required = Array.isArray(form.required) ? form.required : [];
  return Object.entries(form.properties).map(([key, schema]) => {
    const own = isMap(schema) ? schema : {};
    return [key, fieldOf(visible(typeof own.title === "string" ? own.title : key), [own], required.includes(key) && !("default" in own), false)];
  });
}
