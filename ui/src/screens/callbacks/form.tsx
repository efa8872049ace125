/** The form of a callback, new or to be changed, and the signing secret of a new one, which is shown once. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { Field, FormDialog, textIn } from "../../parts/form";
import { done, warn } from "../../parts/toast";
import { common } from "../../texts/common";
import { callbacks as texts } from "../../texts/callbacks";
import { FlowChoice } from "../flow-choice";
import { nameOf, SecretDialog, SIGNED, type Callback } from "./parts";

type Body = Schemas["CreateCallback"];
type Format = NonNullable<Body["format"]>;

function templateOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function templateText(template: unknown): string {
  return typeof template === "string" || template === undefined ? (template ?? "") : JSON.stringify(template, null, 2);
}

export function NewCallback({ onCreated, onClose }: { onCreated: () => Promise<void>; onClose: () => void }) {
  const secret = useSignal<string | undefined>(undefined);
  async function create(body: Body): Promise<void> {
    const made = await api.post("/api/v1/callbacks", { body });
    await onCreated();
    done(texts.created(nameOf(made)));
    if (made.warning !== undefined) warn(made.warning);
    if (SIGNED.includes(made.format)) secret.value = made.secret;
    else onClose();
  }
  if (secret.value !== undefined) return <SecretDialog secret={secret.value} onClose={onClose} />;
  return <CallbackForm title={texts.add} action={texts.create} onSubmit={create} onClose={onClose} />;
}

export function ChangeCallback({ callback, onChanged, onClose }: { callback: Callback; onChanged: () => Promise<void>; onClose: () => void }) {
  async function change({ url, format: _, ...body }: Body): Promise<void> {
    // The server does not show the whole address, so an empty field leaves it as it is.
    const changed = await api.put("/api/v1/callbacks/{id}", { path: { id: callback.id }, body: url === "" ? body : { ...body, url } });
    await onChanged();
    done(texts.changed(nameOf(changed)));
    if (changed.warning !== undefined) warn(changed.warning);
    onClose();
  }
  return <CallbackForm title={texts.changeTitle(nameOf(callback))} action={common.save} old={callback} onSubmit={change} onClose={onClose} />;
}

function scopeOf(callback: Callback | undefined): "all" | "flow" | "tag" {
  if (callback === undefined || (callback.flow_id === null && callback.tag === null)) return "all";
  return callback.flow_id === null ? "tag" : "flow";
}

function CallbackForm({ title, action: label, old, onSubmit, onClose }: { title: string; action: string; old?: Callback; onSubmit: (body: Body) => Promise<void>; onClose: () => void }) {
  const format = useSignal<Format>(old?.format ?? "standard");
  const scope = useSignal<string>(scopeOf(old));
  const flow = useSignal(old?.flow_id ?? "");
  const events = old?.events ?? ["execution.failed"];
  async function submit(form: FormData): Promise<void> {
    const text = (name: string) => textIn(form, name);
    const body: Body = {
      name: text("name"), format: format.value, url: text("url"), events: form.getAll("event").map(String), children: form.has("children"),
      flow_id: scope.value === "flow" ? flow.value : null, tag: scope.value === "tag" ? text("tag") : null,
    };
    if (format.value === "template") body.template = templateOf(text("template"));
    await onSubmit(body);
  }
  return (
    <FormDialog title={title} action={label} onSubmit={submit} onClose={onClose}>
      <Field label={texts.name} hint={texts.nameHint}>{(id, note) => <input id={id} aria-describedby={note} name="name" autofocus maxLength={100} defaultValue={old?.name} />}</Field>
      <Field label={texts.format}>
        {(id) => (
          <select id={id} value={format.value} disabled={old !== undefined} onChange={(event) => (format.value = event.currentTarget.value as Format)}>
            {Object.entries(texts.formats).map(([value, each]) => <option key={value} value={value}>{each}</option>)}
          </select>
        )}
      </Field>
      <Field label={texts.url} hint={old === undefined ? texts.urlHints[format.value] : texts.urlKept(old.url)}>{(id, note) => <input id={id} aria-describedby={note} class="mono" name="url" required={old === undefined} autocomplete="off" spellcheck={false} placeholder={format.value === "email" ? "mailto:" : "https://"} />}</Field>
      {format.value === "template" && <Field label={texts.template} hint={texts.templateHint}>{(id, note) => <textarea id={id} aria-describedby={note} name="template" required rows={4} spellcheck={false} defaultValue={templateText(old?.template)} />}</Field>}
      <fieldset class="plain stack tight">
        <legend class="label">{texts.events}</legend>
        {Object.entries(texts.eventHints).map(([name, hint]) => <label key={name} class="check"><input type="checkbox" name="event" value={name} defaultChecked={events.includes(name)} /><span><code>{name}</code> <span class="muted small">{hint}</span></span></label>)}
      </fieldset>
      <Field label={texts.scope}>
        {(id) => (
          <select id={id} value={scope.value} onChange={(event) => (scope.value = event.currentTarget.value)}>
            {Object.entries(texts.scopes).map(([value, each]) => <option key={value} value={value}>{each}</option>)}
          </select>
        )}
      </Field>
      {scope.value === "flow" && <Field label={texts.flow}>{(id) => <FlowChoice id={id} name="flow_id" required value={flow.value} onChange={(chosen) => (flow.value = chosen ?? "")} />}</Field>}
      {scope.value === "tag" && <Field label={texts.tag}>{(id) => <input id={id} name="tag" required defaultValue={old?.tag ?? ""} />}</Field>}
      <label class="check"><input type="checkbox" name="children" defaultChecked={old?.children} />{texts.children}</label>
    </FormDialog>
  );
}
