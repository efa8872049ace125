/** The settings of a flow: whether it starts, its name and tags, copies, another workspace, deletion. */
import { useSignal } from "@preact/signals";
import { api, ApiError } from "../api/client";
import { useQuery, type Query } from "../api/query";
import { NotFound } from "../app/not-found";
import { go, to, type Parameters } from "../app/router";
import { may, workspace, workspaces } from "../app/session";
import { ConfirmByName } from "../parts/dialog";
import { download } from "../parts/download";
import { Field, Form, FormDialog, textIn, useForm } from "../parts/form";
import { Load } from "../parts/parts";
import { done } from "../parts/toast";
import { useAction } from "../parts/tools";
import { flow as words } from "../texts/flow";
import { settings as texts } from "../texts/settings";
import { FlowHead } from "./flow/head";
import { loadFlow, type Saved } from "./flow/saved";
import { Retention } from "./retention";

export default function FlowSettings({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const flow = useQuery(id, (signal) => loadFlow(id, signal));
  if (flow.error?.status === 404) return <NotFound />;
  return (
    <>
      <FlowHead id={id} name={flow.data?.flow.name} />
      <div class="content settings">
        <Load query={flow} rows={8}>{(saved) => <Settings saved={saved} query={flow} />}</Load>
      </div>
    </>
  );
}

function Settings({ saved, query }: { saved: Saved; query: Query<Saved> }) {
  const { flow } = saved;
  const isDeleting = useSignal(false);
  const isCopying = useSignal(false);
  const mayEdit = may("editor");
  const action = useAction();
  async function remove(): Promise<void> {
    await api.delete("/api/v1/flows/{id}", { path: { id: flow.id } });
    done(texts.deleted(flow.name));
    isDeleting.value = false;
    go(to("/flows"), { replace: true });
  }
  async function change(body: { disabled?: boolean; name?: string; tags?: string[] }, said: string): Promise<void> {
    try {
      await api.put("/api/v1/flows/{id}", { path: { id: flow.id }, body, headers: { "If-Match": saved.etag } });
    } catch (error) {
      // Somebody else has changed it: the next try is about what is there then, which is shown until then.
      if (error instanceof ApiError && error.status === 412) await query.reload();
      throw error;
    }
    done(said);
    await query.reload();
  }
  const details = useForm((form) => change({ name: String(form.get("name")), tags: textIn(form, "tags").split(",").map((tag) => tag.trim()).filter(Boolean) }, texts.saved));
  const others = workspaces.value.filter(({ id }) => id !== workspace.value?.id);
  return (
    <div class="stack">
      {!mayEdit && <p class="muted">{words.readOnlyHint}</p>}
      <fieldset class="plain stack" disabled={!mayEdit}>
        <section class="card padded setting">
          <div><h2>{texts.starts}</h2><p class="muted small">{flow.disabled ? texts.disabledHint : texts.enabledHint}</p></div>
          {mayEdit && <button class="btn" disabled={action.busy} onClick={() => action.run(() => change({ disabled: !flow.disabled }, flow.disabled ? texts.enabled : texts.disabled))}>{flow.disabled ? texts.enable : texts.disable}</button>}
        </section>
        <section class="card padded">
          <Form {...details.form} conflict="name">
            <h2>{texts.details}</h2>
            <Field label={texts.name} hint={texts.nameHint}>{(field, note) => <input id={field} aria-describedby={note} name="name" required maxLength={200} defaultValue={flow.name} />}</Field>
            <Field label={texts.tags} hint={texts.tagsHint}>{(field, note) => <input id={field} name="tags" aria-describedby={note} defaultValue={flow.tags.join(", ")} />}</Field>
            {mayEdit && <div class="row"><button class="btn right" disabled={details.busy}>{texts.save}</button></div>}
          </Form>
        </section>
      </fieldset>
      <Retention kind="flow" id={flow.id} mayChange={mayEdit} />
      <section class="card padded setting">
        <div><h2>{texts.export}</h2><p class="muted small">{texts.exportHint}</p></div>
        <span class="row">
          <button class="btn" onClick={() => download(`${flow.name}.yaml`, flow.definition, "application/yaml")}>{texts.download}</button>
          <button class="btn" disabled={action.busy} onClick={() => action.run(async () => download(`${flow.name}.mmd`, (await api.get("/api/v1/flows/{id}/graph", { path: { id: flow.id } })).mermaid, "text/vnd.mermaid"))}>{texts.mermaid}</button>
          {mayEdit && <button class="btn" onClick={() => (isCopying.value = true)}>{texts.copy}</button>}
        </span>
      </section>
      {mayEdit && <>
        {others.length > 0 && may("admin") && (
          <section class="card padded setting">
            <div><h2>{texts.move}</h2><p class="muted small">{texts.moveHint}</p></div>
            <Move id={flow.id} others={others} />
          </section>
        )}
        <section class="card padded setting">
          <div><h2>{texts.delete}</h2><p class="muted small">{texts.deleteHint}</p></div>
          <button class="btn danger" onClick={() => (isDeleting.value = true)}>{texts.deleteAction}…</button>
        </section>
      </>}
      {isDeleting.value && (
        <ConfirmByName title={texts.deleteTitle(flow.name)} name={flow.name} action={texts.deleteAction} busy={action.busy} onConfirm={() => action.run(remove)} onClose={() => (isDeleting.value = false)}>
          <p>{texts.deleteHint}</p>
        </ConfirmByName>
      )}
      {isCopying.value && <CopyDialog flow={flow} onClose={() => (isCopying.value = false)} />}
    </div>
  );
}

function Move({ id, others }: { id: string; others: readonly { slug: string; name: string }[] }) {
  const target = useSignal("");
  const action = useAction();
  async function move(slug: string): Promise<void> {
    const { missing_secrets: secrets, missing_config: values } = await api.post("/api/v1/flows/{id}/move", { path: { id }, body: { workspace: slug } });
    const missing = [...secrets, ...values];
    const name = others.find((each) => each.slug === slug)?.name ?? slug;
    done(missing.length > 0 ? `${texts.moved(name)}. ${texts.missing(missing.join(", "))}` : texts.moved(name));
    go(`/w/${encodeURIComponent(slug)}/flows/${id}/settings`, { replace: true });
  }
  return (
    <span class="row">
      <select class="narrow-input" aria-label={texts.moveTo} value={target.value} onChange={(event) => (target.value = event.currentTarget.value)}>
        <option value="">{texts.moveTo}…</option>
        {others.map(({ slug, name }) => <option key={slug} value={slug}>{name}</option>)}
      </select>
      <button class="btn" disabled={action.busy || target.value === ""} onClick={() => action.run(() => move(target.value))}>{texts.move}</button>
    </span>
  );
}

function CopyDialog({ flow, onClose }: { flow: Saved["flow"]; onClose: () => void }) {
  const copy = async (form: FormData) => {
    const copied = await api.post("/api/v1/flows/{id}/copy", { path: { id: flow.id }, body: { name: String(form.get("name")) } });
    done(texts.copied(copied.name));
    onClose();
    go(to(`/flows/${copied.id}`));
  };
  return (
    <FormDialog title={texts.copy} action={texts.copy} conflict="name" onSubmit={copy} onClose={onClose}>
      <Field label={texts.copyName}>{(field) => <input id={field} name="name" required maxLength={200} defaultValue={`${flow.name}-copy`} autofocus />}</Field>
    </FormDialog>
  );
}
