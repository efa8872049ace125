/** Invitations to a workspace: made, listed and revoked, beside its members. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { location } from "../app/router";
import type { Workspace } from "../app/session";
import { useQuestion } from "../parts/dialog";
import { Field, FormDialog, textIn } from "../parts/form";
import { PAGE, Pager } from "../parts/pager";
import { Load, Time } from "../parts/parts";
import { RoleOptions } from "../parts/roles";
import { ShownOnce } from "../parts/shown-once";
import { Table } from "../parts/table";
import { invitation as texts } from "../texts/invitation";
import { workspace as workspaceTexts } from "../texts/workspace";

type Role = Schemas["InvitationInList"]["role"];

export function Invitations({ place }: { place: Workspace }) {
  const cursor = location.value.query.get("invitations") ?? "";
  const list = useQuery(`${place.id} ${cursor}`, (signal) => api.get("/api/v1/workspaces/{id}/invitations", { path: { id: place.id }, query: { limit: PAGE, cursor }, signal }));
  const isNew = useSignal(false);
  const { ask, question } = useQuestion();
  const revoke = ({ id, email }: Schemas["InvitationInList"]) => ask({
    title: texts.revokeTitle(email), action: texts.revokeIt, hint: texts.revokeHint, said: texts.revoked,
    run: () => api.delete("/api/v1/workspaces/{id}/invitations/{invitation_id}", { path: { id: place.id, invitation_id: id } }).then(list.reload),
  });
  return (
    <>
      <Load query={list} rows={2}>
        {({ invitations, next_cursor: next }) => (
          <section class="card scroll">
            <div class="row card-head"><h2>{texts.open}</h2><button class="btn right" onClick={() => (isNew.value = true)}>{texts.invite}</button></div>
            {invitations.length === 0 ? <p class="muted padded">{texts.none}</p> : (
              <Table
                isBare
                rows={invitations}
                keyOf={({ id }) => id}
                columns={[
                  { head: texts.email, look: "name", cell: ({ email }) => <span class="cut block" title={email}>{email}</span> },
                  { head: workspaceTexts.role, cell: ({ role }) => workspaceTexts.roles[role] },
                  { label: texts.expires, look: "muted", cell: ({ expires_at: at }) => <Time at={at} /> },
                ]}
                acts={(each) => <button class="btn quiet" aria-label={`${texts.revoke} ${each.email}`} onClick={() => revoke(each)}>{texts.revoke}</button>}
              />
            )}
            <Pager next={next} name="invitations" />
          </section>
        )}
      </Load>
      {question}
      {isNew.value && <NewInvitation place={place} onMade={list.reload} onClose={() => (isNew.value = false)} />}
    </>
  );
}

function NewInvitation({ place, onMade, onClose }: { place: Workspace; onMade: () => Promise<void>; onClose: () => void }) {
  const made = useSignal<Schemas["NewInvitationAnswer"] | undefined>(undefined);
  async function invite(form: FormData): Promise<void> {
    const body = { email: textIn(form, "email"), role: String(form.get("role")) as Role, expires_in: String(form.get("expires_in")) };
    made.value = await api.post("/api/v1/workspaces/{id}/invitations", { path: { id: place.id }, body });
    await onMade();
  }
  if (made.value !== undefined) {
    const link = new URL(made.value.link, window.location.origin).href;
    const hint = `${texts.madeHint} ${made.value.mailed ? texts.mailed : texts.notMailed}`;
    return <ShownOnce title={texts.madeTitle(made.value.email)} hint={hint} text={link} onClose={onClose} />;
  }
  return (
    <FormDialog title={texts.invite} action={texts.invite} onSubmit={invite} onClose={onClose}>
      <Field label={texts.email} hint={texts.inviteHint}>{(id, note) => <input id={id} aria-describedby={note} name="email" type="email" required autofocus autocomplete="off" />}</Field>
      <Field label={workspaceTexts.role}>{(id) => <select id={id} name="role"><RoleOptions chosen="editor" explained /></select>}</Field>
      <Field label={texts.life}>{(id) => <select id={id} name="expires_in">{Object.entries(texts.lives).map(([value, label]) => <option key={value} value={value} selected={value === "7d"}>{label}</option>)}</select>}</Field>
    </FormDialog>
  );
}
