/** The secrets of the workspace: names alone; values are only written. */
import { useSignal } from "@preact/signals";
import { to } from "../app/router";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { Confirm, Dialog } from "../parts/dialog";
import { Field, Form } from "../parts/form";
import { Empty, Load, Time } from "../parts/parts";
import { done, failed } from "../parts/toast";
import { common } from "../texts/common";
import { secrets as texts } from "../texts/secrets";

export default function Secrets() {
  const id = workspace.value?.id ?? "";
  const list = useQuery(id, (signal) => api.get("/api/v1/workspaces/{id}/secrets", { path: { id }, signal }));
  /** The name that is written; empty for a new secret. */
  const written = useSignal<string | undefined>(undefined);
  const deleted = useSignal<string | undefined>(undefined);
  const isBusy = useSignal(false);
  const mayChange = may("editor");
  const add = mayChange && <button class="btn primary" onClick={() => (written.value = "")}>{texts.add}</button>;
  async function remove(key: string): Promise<void> {
    isBusy.value = true;
    try {
      await api.delete("/api/v1/workspaces/{id}/secrets/{key}", { path: { id, key } });
      await list.reload();
      done(texts.deleted(key));
      deleted.value = undefined;
    } catch (error) {
      failed(error);
    } finally {
      isBusy.value = false;
    }
  }
  return (
    <>
      <Head title={texts.title} actions={add} />
      <div class="content">
        <p class="muted">{texts.hint}</p>
        <Load query={list} rows={3}>
          {({ secrets }) => secrets.length === 0 ? (
            <div class="card"><Empty title={texts.empty}><p>{texts.emptyHint} {!add && common.forEditors}</p>{add}</Empty></div>
          ) : (
            <div class="card scroll">
              <table class="stacked">
                <thead><tr><th>{texts.name}</th><th class="wide-only">{texts.created}</th><th>{texts.changed}</th><th class="wide-only">{texts.used}</th><th class="wide-only">{texts.usedBy}</th>{mayChange && <th><span class="hidden">{texts.actions}</span></th>}</tr></thead>
                <tbody>
                  {secrets.map((secret) => (
                    <tr key={secret.key}>
                      <td class="name"><code>{secret.key}</code></td>
                      <td class="wide-only muted" data-label={texts.created}><Time at={secret.created_at} /></td>
                      <td class="muted nowrap" data-label={texts.changed}><Time at={secret.updated_at} how="relative" /></td>
                      <td class="wide-only muted nowrap" data-label={texts.used}>{secret.last_used_at === undefined ? texts.never : <Time at={secret.last_used_at} how="relative" />}</td>
                      <td class="wide-only muted where" data-label={texts.usedBy}>{secret.used_by.length === 0 ? texts.nobody : <span class="cut block" title={secret.used_by.map(({ name }) => name).join(", ")}>{secret.used_by.map(({ id: flow, name }, i) => <span key={flow}>{i > 0 && ", "}<a class="link" href={to(`/flows/${flow}`)}>{name}</a></span>)}</span>}</td>
                      {mayChange && (
                        <td class="num acts">
                          <button class="btn quiet" onClick={() => (written.value = secret.key)}>{texts.replace}</button>
                          <button class="btn quiet" aria-label={`${common.delete} ${secret.key}`} onClick={() => (deleted.value = secret.key)}>{common.delete}</button>
                        </td>
                      )}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </Load>
      </div>
      {written.value !== undefined && <SecretDialog workspaceId={id} name={written.value} onSaved={list.reload} onClose={() => (written.value = undefined)} />}
      {deleted.value !== undefined && (
        <Confirm title={texts.deleteTitle(deleted.value)} action={texts.deleteIt} busy={isBusy.value} onConfirm={() => void remove(deleted.value!)} onClose={() => (deleted.value = undefined)}>
          <p class="muted">{texts.deleteHint}</p>
        </Confirm>
      )}
    </>
  );
}

function SecretDialog({ workspaceId, name, onSaved, onClose }: { workspaceId: string; name: string; onSaved: () => Promise<void>; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const isBusy = useSignal(false);
  async function save(event: Event & { currentTarget: HTMLFormElement }): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const key = name || String(form.get("key")).trim();
    isBusy.value = true;
    try {
      await api.post("/api/v1/workspaces/{id}/secrets", { path: { id: workspaceId }, body: { key, value: String(form.get("value")) } });
      await onSaved();
      done(texts.saved(key));
      onClose();
    } catch (reason) {
      error.value = reason;
      isBusy.value = false;
    }
  }
  return (
    <Dialog title={name === "" ? texts.add : texts.replaceTitle(name)} onClose={onClose}>
      <Form error={error.value} onSubmit={(event) => void save(event)}>
        {name === "" && <Field label={texts.name} hint={texts.nameHint}>{(id, note) => <input id={id} aria-describedby={note} class="mono" name="key" required autofocus autocomplete="off" spellcheck={false} />}</Field>}
        <Field label={texts.value} hint={texts.valueHint}>{(id, note) => <input id={id} aria-describedby={note} name="value" type="password" autocomplete="new-password" required autofocus={name !== ""} />}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={isBusy.value}>{common.save}</button></div>
      </Form>
    </Dialog>
  );
}
