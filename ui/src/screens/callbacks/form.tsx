/** The form of a new callback, and its signing secret, which is shown once. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { workspace } from "../../app/session";
import { Dialog } from "../../parts/dialog";
import { Failure, Field } from "../../parts/parts";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { callbacks as texts } from "../../texts/callbacks";
import { nameOf, SecretDialog, SIGNED } from "./parts";

type Body = Schemas["CreateCallback"];
type Format = NonNullable<Body["format"]>;

function templateOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function NewCallback({ onCreated, onClose }: { onCreated: () => Promise<void>; onClose: () => void }) {
  const format = useSignal<Format>("standard");
  const scope = useSignal("all");
  const secret = useSignal<string | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  function create(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    const body: Body = { name: text("name"), format: format.value, url: text("url"), events: form.getAll("event").map(String), children: form.has("children") };
    if (scope.value === "flow") body.flow_id = text("flow");
    if (scope.value === "tag") body.tag = text("tag");
    if (format.value === "template") body.template = templateOf(text("template"));
    action.run(async () => {
      const made = await api.post("/api/v1/callbacks", { body });
      await onCreated();
      done(texts.created(nameOf(made)));
      if (SIGNED.includes(made.format)) secret.value = made.secret;
      else onClose();
    }, (reason) => (error.value = reason));
  }
  if (secret.value !== undefined) return <SecretDialog secret={secret.value} onClose={onClose} />;
  return (
    <Dialog title={texts.add} onClose={onClose}>
      <form class="stack" onSubmit={create}>
        {error.value !== undefined && <Failure error={error.value} />}
        <Field label={texts.name} hint={texts.nameHint}>{(id, note) => <input id={id} aria-describedby={note} name="name" autofocus maxLength={100} />}</Field>
        <Field label={texts.format}>
          {(id) => (
            <select id={id} value={format.value} onChange={(event) => (format.value = event.currentTarget.value as Format)}>
              {Object.entries(texts.formats).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
            </select>
          )}
        </Field>
        <Field label={texts.url} hint={texts.urlHints[format.value]}>{(id, note) => <input id={id} aria-describedby={note} class="mono" name="url" required autocomplete="off" spellcheck={false} placeholder={format.value === "email" ? "mailto:" : "https://"} />}</Field>
        {format.value === "template" && <Field label={texts.template} hint={texts.templateHint}>{(id, note) => <textarea id={id} aria-describedby={note} name="template" required rows={4} spellcheck={false} />}</Field>}
        <fieldset class="plain stack tight">
          <legend class="label">{texts.events}</legend>
          {Object.entries(texts.eventHints).map(([name, hint]) => <label key={name} class="check"><input type="checkbox" name="event" value={name} defaultChecked={name === "execution.failed"} /><span><code>{name}</code> <span class="muted small">{hint}</span></span></label>)}
        </fieldset>
        <Field label={texts.scope}>
          {(id) => (
            <select id={id} value={scope.value} onChange={(event) => (scope.value = event.currentTarget.value)}>
              {Object.entries(texts.scopes).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
            </select>
          )}
        </Field>
        {scope.value === "flow" && <FlowChoice />}
        {scope.value === "tag" && <Field label={texts.tag}>{(id) => <input id={id} name="tag" required />}</Field>}
        <label class="check"><input type="checkbox" name="children" />{texts.children}</label>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{texts.create}</button></div>
      </form>
    </Dialog>
  );
}

function FlowChoice() {
  const flows = useQuery(workspace.value?.id ?? "", (signal) => api.get("/api/v1/flows", { query: { limit: 500 }, signal }));
  return (
    <Field label={texts.flow}>
      {(id) => <select id={id} name="flow" required><option value="" />{flows.data?.flows.map((flow) => <option key={flow.id} value={flow.id}>{flow.name}</option>)}</select>}
    </Field>
  );
}
