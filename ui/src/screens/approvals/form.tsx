/** The form of an approval, made from the JSON Schema of its node. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { SchemaField } from "../../forms/field";
import { fieldOf, textOf, titleOf, valueOf, type FormField } from "../../forms/fields";
import { isMap } from "../../graph/document";
import { approvals as texts } from "../../texts/approvals";
import { forms as words } from "../../texts/forms";
import type { FormProps } from "./answering";

export function ApprovalForm({ approval, busy, refused, onAnswer, onReject }: FormProps) {
  const fields = fieldsOf(approval.form);
  const begun = Object.fromEntries(fields.map(([key, field]) => [key, textOf(field, field.default)]));
  const written = useSignal<Record<string, string>>(begun);
  const faults = useSignal<ReadonlyMap<string, string>>(new Map());
  const form = useRef<HTMLFormElement>(null);
  // Before anybody can type into another field.
  useLayoutEffect(() => {
    form.current?.querySelector<HTMLElement>("input, select, textarea, button")?.focus();
  }, []);
  function answer(approved: boolean): void {
    // A rejection needs no data, but keeps what was written.
    if (!approved && fields.every(([key]) => written.value[key] === begun[key])) return onReject();
    const read = readAnswer(fields, written.value, approved);
    faults.value = read.faults;
    if (read.faults.size === 0) (approved ? onAnswer : onReject)(read.data);
  }
  return (
    <form ref={form} class="stack" aria-label={texts.formOf(approval.flow_name)} onSubmit={(event) => { event.preventDefault(); answer(true); }} noValidate>
      {fields.map(([key, field]) => (
        <SchemaField key={key} field={field} text={written.value[key] ?? ""} fault={faults.value.get(key) ?? refused.get(key)} onText={(text) => (written.value = { ...written.peek(), [key]: text })} />
      ))}
      <div class="row">
        <button class="btn primary" disabled={busy}>{texts.approve}</button>
        <button class="btn" type="button" disabled={busy} onClick={() => answer(false)}>{texts.reject}</button>
      </div>
    </form>
  );
}

/** Return what the fields hold, and what is wrong with them by key. Args: isWhole: Whether what is required must be there. */
export function readAnswer(fields: readonly [string, FormField][], written: Readonly<Record<string, string>>, isWhole: boolean): { data: Record<string, unknown>; faults: ReadonlyMap<string, string> } {
  const data = new Map<string, unknown>();
  const faults = new Map<string, string>();
  for (const [key, field] of fields) {
    const typed = valueOf(field, written[key] ?? "");
    if ("fault" in typed) faults.set(key, typed.fault);
    else if (typed.value !== undefined) data.set(key, typed.value);
    else if (isWhole && field.isRequired) faults.set(key, words.missing);
  }
  return { data: Object.fromEntries(data), faults };
}

/** The fields by their key, named by their titles. */
export function fieldsOf(form: unknown): [string, FormField][] {
  if (!isMap(form) || !isMap(form.properties)) return [];
  const required = Array.isArray(form.required) ? form.required : [];
  return Object.entries(form.properties).map(([key, schema]) => {
    const own = isMap(schema) ? schema : {};
    return [key, fieldOf(titleOf(key, own), [own], required.includes(key) && !("default" in own), false)];
  });
}
