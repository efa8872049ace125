/** The settings of a workspace: its name, retention, archive, and how to leave or delete it. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { fileOf } from "../../api/files";
import { go } from "../../app/router";
import { isOwnAccount, isPersonal, may, open, withRecentLogin, type Workspace } from "../../app/session";
import { ConfirmByName, useQuestion } from "../../parts/dialog";
import { download } from "../../parts/download";
import { Field, Form, useForm } from "../../parts/form";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { security } from "../../texts/security";
import { workspace as texts } from "../../texts/workspace";
import { Retention } from "../retention";
import { goElsewhere } from "./leaving";

const ZIP = "application/zip";

export function WorkspaceSettings({ place }: { place: Workspace }) {
  const isDeleting = useSignal(false);
  const { ask, question } = useQuestion();
  const action = useAction();
  const path = { id: place.id };
  const leave = () => ask({
    title: texts.leaveTitle(place.name), action: texts.leaveIt, hint: texts.leaveHint,
    run: () => api.post("/api/v1/workspaces/{id}/leave", { path }).then(() => goElsewhere(texts.left(place.name))),
  });
  const remove = () => action.run(async () => {
    await withRecentLogin(() => api.delete("/api/v1/workspaces/{id}", { path, query: { name: place.name } }));
    isDeleting.value = false;
    await goElsewhere(texts.deleted(place.name));
  });
  const save = () => action.run(async () => download(`${place.name}.zip`, await withRecentLogin(() => fileOf("/api/v1/workspaces/{id}/export", ZIP, { path })), ZIP));
  const isOwn = isPersonal(place);
  return (
    <div class="stack settings">
      {isOwn ? <p class="muted">{texts.personal}</p> : may("admin") && <NameForm key={place.id} place={place} />}
      <Retention kind="workspace" id={place.id} mayChange={may("admin")} />
      {may("admin") && (
        <section class="card padded setting">
          <div><h2>{texts.export}</h2><p class="muted small">{texts.exportHint}</p></div>
          <button class="btn" disabled={action.busy} onClick={save}>{texts.exportIt}</button>
        </section>
      )}
      {!isOwnAccount(place) && (
        <section class="card padded setting">
          <div><h2>{texts.leave}</h2><p class="muted small">{texts.leaveHint}</p></div>
          <button class="btn" onClick={leave}>{texts.leaveIt}</button>
        </section>
      )}
      {!isOwn && may("admin") && (
        <section class="card padded setting">
          <div><h2>{texts.delete}</h2><p class="muted small">{texts.deleteHint}</p></div>
          <button class="btn danger" onClick={() => (isDeleting.value = true)}>{texts.deleteIt}…</button>
        </section>
      )}
      {question}
      {isDeleting.value && (
        <ConfirmByName title={texts.deleteTitle(place.name)} name={place.name} action={texts.deleteIt} busy={action.busy} onConfirm={remove} onClose={() => (isDeleting.value = false)}>
          <p>{texts.deleteHint}</p>
        </ConfirmByName>
      )}
    </div>
  );
}

function NameForm({ place }: { place: Workspace }) {
  const { busy, form } = useForm(async (fields) => {
    const changed = await api.put("/api/v1/workspaces/{id}", { path: { id: place.id }, body: { name: String(fields.get("name")), slug: String(fields.get("slug")), requires_second_factor: fields.has("required") } });
    await open();
    done(texts.saved);
    go(`/w/${encodeURIComponent(changed.slug)}/workspace`, { replace: true });
  });
  return (
    <Form class="card padded stack" conflict="slug" {...form}>
      <h2>{texts.details}</h2>
      <div class="columns">
        <Field label={texts.name}>{(id) => <input id={id} name="name" defaultValue={place.name} required maxLength={200} />}</Field>
        <Field label={texts.slug}>{(id) => <input id={id} class="mono" name="slug" defaultValue={place.slug} required maxLength={100} spellcheck={false} />}</Field>
      </div>
      <label class="check"><input type="checkbox" name="required" defaultChecked={place.requires_second_factor} /><span>{security.required}</span></label>
      <div class="row"><button class="btn right" disabled={busy}>{common.save}</button></div>
    </Form>
  );
}
