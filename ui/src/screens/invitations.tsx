/** Invitations to a workspace: made, listed and revoked, beside its members. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import type { Workspace } from "../app/session";
import { Confirm, Dialog } from "../parts/dialog";
import { Field, Form } from "../parts/form";
import { Load, Time } from "../parts/parts";
import { RoleOptions } from "../parts/roles";
import { ShownOnce } from "../parts/shown-once";
import { done } from "../parts/toast";
import { useAction } from "../parts/tools";
import { common } from "../texts/common";
import { invitation as texts } from "../texts/invitation";
import { workspace as workspaceTexts } from "../texts/workspace";

type Role = Schemas["InvitationInList"]["role"];

export function Invitations({ place }: { place: Workspace }) {
  const list = useQuery(place.id, (signal) => api.get("/api/v1/workspaces/{id}/invitations", { path: { id: place.id }, query: { limit: 100 }, signal }));
  const isNew = useSignal(false);
  const revoked = useSignal<Schemas["InvitationInList"] | undefined>(undefined);
  const action = useAction();
  function revoke(id: string): void {
    action.run(async () => {
      await api.delete("/api/v1/workspaces/{id}/invitations/{invitation_id}", { path: { id: place.id, invitation_id: id } });
      await list.reload();
      revoked.value = undefined;
      done(texts.revoked);
    });
  }
  return (
    <>
      <Load query={list} rows={2}>
        {({ invitations }) => (
          <section class="card scroll">
            <div class="row card-head"><h2>{texts.open}</h2><button class="btn right" onClick={() => (isNew.value = true)}>{texts.invite}</button></div>
            {invitations.length === 0 ? <p class="muted padded">{texts.none}</p> : (
              <table class="stacked">
                <thead><tr><th>{texts.email}</th><th>{workspaceTexts.role}</th><th class="wide-only">{texts.expires}</th><th><span class="hidden">{workspaceTexts.actions}</span></th></tr></thead>
                <tbody>
                  {invitations.map((each) => (
                    <tr key={each.id}>
                      <td class="name"><span class="cut block" title={each.email}>{each.email}</span></td>
                      <td>{workspaceTexts.roles[each.role]}</td>
                      <td class="wide-only muted" data-label={texts.expires}><Time at={each.expires_at} /></td>
                      <td class="num acts"><button class="btn quiet" aria-label={`${texts.revoke} ${each.email}`} onClick={() => (revoked.value = each)}>{texts.revoke}</button></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </section>
        )}
      </Load>
      {revoked.value !== undefined && (
        <Confirm title={texts.revokeTitle(revoked.value.email)} action={texts.revokeIt} busy={action.busy} onConfirm={() => revoke(revoked.value!.id)} onClose={() => (revoked.value = undefined)}>
          <p class="muted">{texts.revokeHint}</p>
        </Confirm>
      )}
      {isNew.value && <NewInvitation place={place} onMade={list.reload} onClose={() => (isNew.value = false)} />}
    </>
  );
}

function NewInvitation({ place, onMade, onClose }: { place: Workspace; onMade: () => Promise<void>; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const made = useSignal<Schemas["NewInvitationAnswer"] | undefined>(undefined);
  const action = useAction();
  function invite(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    action.run(async () => {
      const body = { email: String(form.get("email")).trim(), role: String(form.get("role")) as Role, expires_in: String(form.get("expires_in")) };
      made.value = await api.post("/api/v1/workspaces/{id}/invitations", { path: { id: place.id }, body });
      await onMade();
    }, (reason) => (error.value = reason));
  }
  if (made.value !== undefined) {
    const link = new URL(made.value.link, window.location.origin).href;
    const hint = `${texts.madeHint} ${made.value.mailed ? texts.mailed : texts.notMailed}`;
    return <ShownOnce title={texts.madeTitle(made.value.email)} hint={hint} text={link} onClose={onClose} />;
  }
  return (
    <Dialog title={texts.invite} onClose={onClose}>
      <Form error={error.value} onSubmit={invite}>
        <Field label={texts.email} hint={texts.inviteHint}>{(id, note) => <input id={id} aria-describedby={note} name="email" type="email" required autofocus autocomplete="off" />}</Field>
        <Field label={workspaceTexts.role}>{(id) => <select id={id} name="role"><RoleOptions chosen="editor" explained /></select>}</Field>
        <Field label={texts.life}>{(id) => <select id={id} name="expires_in">{Object.entries(texts.lives).map(([value, label]) => <option key={value} value={value} selected={value === "7d"}>{label}</option>)}</select>}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{texts.invite}</button></div>
      </Form>
    </Dialog>
  );
}
