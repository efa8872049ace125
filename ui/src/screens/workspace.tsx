/** The workspace: its members, its name, and what it uses of its limits. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../api/client";
import { useQuery, type Query } from "../api/query";
import { go } from "../app/router";
import { account, may, open, workspace, type Workspace } from "../app/session";
import { Head } from "../app/shell";
import { bytes, count } from "../parts/format";
import { Confirm, Dialog } from "../parts/dialog";
import { Field, Form } from "../parts/form";
import { Load, Time } from "../parts/parts";
import { done, failed } from "../parts/toast";
import { useAction } from "../parts/tools";
import { Invitations } from "./invitations";
import { common } from "../texts/common";
import { security } from "../texts/security";
import { workspace as texts } from "../texts/workspace";

type Member = Schemas["MemberAnswer"];
type Role = Member["role"];
const ROLES: Role[] = ["viewer", "operator", "editor", "admin"];

export default function WorkspaceScreen() {
  const isNew = useSignal(false);
  const place = workspace.value;
  const id = place?.id ?? "";
  const members = useQuery(id, (signal) => api.get("/api/v1/workspaces/{id}/members", { path: { id }, query: { limit: 1000 }, signal }));
  if (place === undefined) return null;
  return (
    <>
      <Head title={place.name} actions={<button class="btn" onClick={() => (isNew.value = true)}>{texts.newWorkspace}</button>} />
      <div class="content">
        {may("admin") && place.id !== account.value?.id ? <NameForm key={place.id} place={place} /> : place.id === account.value?.id && <p class="muted">{texts.personal}</p>}
        <Members place={place} members={members} />
        {/* One error says what several would repeat. */}
        {members.error === undefined && may("admin") && <Invitations place={place} />}
        {members.error === undefined && <Usage id={id} />}
      </div>
      {isNew.value && <NewWorkspace onClose={() => (isNew.value = false)} />}
    </>
  );
}

function NameForm({ place }: { place: Workspace }) {
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  function save(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    action.run(async () => {
      const changed = await api.put("/api/v1/workspaces/{id}", { path: { id: place.id }, body: { name: String(form.get("name")), slug: String(form.get("slug")), requires_second_factor: form.get("required") !== null } });
      await open();
      error.value = undefined;
      done(texts.saved);
      go(`/w/${encodeURIComponent(changed.slug)}/workspace`, { replace: true });
    }, (reason) => (error.value = reason));
  }
  return (
    <Form class="card padded stack" error={error.value} conflict="slug" onSubmit={save}>
      <div class="columns">
        <Field label={texts.name}>{(id) => <input id={id} name="name" defaultValue={place.name} required maxLength={200} />}</Field>
        <Field label={texts.slug}>{(id) => <input id={id} class="mono" name="slug" defaultValue={place.slug} required maxLength={100} spellcheck={false} />}</Field>
      </div>
      <label class="check"><input type="checkbox" name="required" defaultChecked={place.requires_second_factor} /><span>{security.required}</span></label>
      <div class="row"><button class="btn right" disabled={action.busy}>{common.save}</button></div>
    </Form>
  );
}

function Members({ place, members }: { place: Workspace; members: Query<Schemas["MemberList"]> }) {
  const removed = useSignal<Member | undefined>(undefined);
  const isNew = useSignal(false);
  const action = useAction();
  const mayChange = may("admin");
  const path = (member: Member) => ({ id: place.id, account_id: member.account_id });
  function change(member: Member, role: Role): void {
    action.run(async () => {
      await api.put("/api/v1/workspaces/{id}/members/{account_id}", { path: path(member), body: { role } });
      done(texts.saved);
      await members.reload();
    }, (error) => {
      void members.reload();
      failed(error);
    });
  }
  function remove(member: Member): void {
    action.run(async () => {
      await api.delete("/api/v1/workspaces/{id}/members/{account_id}", { path: path(member) });
      await members.reload();
      removed.value = undefined;
      done(texts.removed(member.name));
    });
  }
  return (
    <>
      <Load query={members} rows={3}>
        {({ members: list }) => (
          <section class="card scroll">
            <div class="row card-head"><h2>{texts.members}</h2>{mayChange && <button class="btn right" onClick={() => (isNew.value = true)}>{texts.add}</button>}</div>
            <table class="stacked">
              <thead><tr><th>{texts.name}</th><th>{texts.role}</th><th class="wide-only">{texts.added}</th>{mayChange && <th><span class="hidden">{texts.actions}</span></th>}</tr></thead>
              <tbody>
                {list.map((member) => (
                  <tr key={member.account_id}>
                    <td class="name"><span class="cut block" title={member.email}>{member.name} <span class="muted small">{member.email}</span></span></td>
                    <td>
                      {mayChange && !member.owner ? (
                        <select class="compact" aria-label={texts.roleOf(member.name)} value={member.role} disabled={action.busy} onChange={(event) => change(member, event.currentTarget.value as Role)}>
                          {ROLES.map((role) => <option key={role} value={role}>{texts.roles[role]}</option>)}
                        </select>
                      ) : <span class="muted">{member.owner ? texts.owner : texts.roles[member.role]}</span>}
                    </td>
                    <td class="wide-only muted" data-label={texts.added}><Time at={member.added_at} /></td>
                    {mayChange && <td class="num acts">{!member.owner && <button class="btn quiet" aria-label={`${texts.remove} ${member.name}`} onClick={() => (removed.value = member)}>{texts.remove}</button>}</td>}
                  </tr>
                ))}
              </tbody>
            </table>
          </section>
        )}
      </Load>
      {isNew.value && <NewMember place={place} onAdded={members.reload} onClose={() => (isNew.value = false)} />}
      {removed.value !== undefined && (
        <Confirm title={texts.removeTitle(removed.value.name)} action={texts.remove} busy={action.busy} onConfirm={() => remove(removed.value!)} onClose={() => (removed.value = undefined)}>
          <p class="muted">{texts.removeHint}</p>
        </Confirm>
      )}
    </>
  );
}

function NewMember({ place, onAdded, onClose }: { place: Workspace; onAdded: () => Promise<void>; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  function add(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    action.run(async () => {
      const member = await api.post("/api/v1/workspaces/{id}/members", { path: { id: place.id }, body: { account: String(form.get("account")).trim(), role: String(form.get("role")) as Role } });
      await onAdded();
      done(texts.memberAdded(member.name));
      onClose();
    }, (reason) => (error.value = reason));
  }
  return (
    <Dialog title={texts.add} onClose={onClose}>
      <Form error={error.value} conflict="account" onSubmit={add}>
        <Field label={texts.account} hint={texts.addHint}>{(id, note) => <input id={id} aria-describedby={note} name="account" required autofocus autocomplete="off" />}</Field>
        <Field label={texts.role}>{(id) => <select id={id} name="role">{ROLES.map((role) => <option key={role} value={role} selected={role === "editor"}>{texts.roles[role]}: {texts.roleHints[role]}</option>)}</select>}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{texts.add}</button></div>
      </Form>
    </Dialog>
  );
}

function NewWorkspace({ onClose }: { onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  function create(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget).get("name"));
    action.run(async () => {
      const made = await api.post("/api/v1/workspaces", { body: { name } });
      await open();
      done(texts.created(made.name));
      onClose();
      go(`/w/${encodeURIComponent(made.slug)}/workspace`);
    }, (reason) => (error.value = reason));
  }
  return (
    <Dialog title={texts.newWorkspace} onClose={onClose}>
      <Form error={error.value} onSubmit={create}>
        <Field label={texts.name} hint={texts.newHint}>{(id, note) => <input id={id} aria-describedby={note} name="name" required autofocus maxLength={200} />}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{texts.newWorkspace}</button></div>
      </Form>
    </Dialog>
  );
}

function Usage({ id }: { id: string }) {
  const usage = useQuery(id, (signal) => api.get("/api/v1/workspaces/{id}/usage", { path: { id }, signal }));
  const most = (limit: number | null, format: (value: number) => string) => (limit === null ? undefined : format(limit));
  return (
    <Load query={usage} rows={3}>
      {({ flows, secrets, open_executions: openOnes, members, stored, limits }) => (
        <section class="card padded stack">
          <h2>{texts.usage}</h2>
          <dl class="facts-list">
            <dt>{texts.facts.flows}</dt><dd>{texts.of(count(flows), most(limits.flows, count))}</dd>
            <dt>{texts.facts.open}</dt><dd>{count(openOnes)}</dd>
            <dt>{texts.facts.stored}</dt><dd>{texts.of(bytes(stored), most(limits.stored, bytes))}</dd>
            <dt>{texts.facts.secrets}</dt><dd>{count(secrets)}</dd>
            <dt>{texts.facts.members}</dt><dd>{count(members)}</dd>
          </dl>
        </section>
      )}
    </Load>
  );
}
