/** The members of a workspace and their roles. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import type { Query } from "../../api/query";
import { account, may, open, type Workspace } from "../../app/session";
import { Confirm, Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { Load, Time } from "../../parts/parts";
import { done, failed } from "../../parts/toast";
import { RoleOptions } from "../../parts/roles";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { workspace as texts } from "../../texts/workspace";
import { goElsewhere } from "./leaving";

type Member = Schemas["MemberAnswer"];
type Role = Member["role"];

export function Members({ place, members }: { place: Workspace; members: Query<Schemas["MemberList"]> }) {
  const removed = useSignal<Member | undefined>(undefined);
  /** The role that the reader chose for itself and may not be able to take back. */
  const lowered = useSignal<{ member: Member; role: Role } | undefined>(undefined);
  const isNew = useSignal(false);
  const action = useAction();
  const mayChange = may("admin");
  const path = (member: Member) => ({ id: place.id, account_id: member.account_id });
  const own = account.value?.id;
  function change(member: Member, role: Role): void {
    action.run(async () => {
      await api.put("/api/v1/workspaces/{id}/members/{account_id}", { path: path(member), body: { role } });
      lowered.value = undefined;
      done(texts.saved);
      // What the reader may do here is another now.
      if (member.account_id === own) await open();
      await members.reload();
    }, (error) => {
      void members.reload();
      failed(error);
    });
  }
  function choose(member: Member, select: HTMLSelectElement): void {
    const role = select.value as Role;
    if (member.account_id !== own || role === "admin") return change(member, role);
    // It shows the present role until the new one is confirmed.
    select.value = member.role;
    lowered.value = { member, role };
  }
  function remove(member: Member): void {
    action.run(async () => {
      await api.delete("/api/v1/workspaces/{id}/members/{account_id}", { path: path(member) });
      if (member.account_id === own) return await goElsewhere(texts.left(place.name));
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
                    <td class="name"><span class="cut block" title={member.name}>{member.name}{member.account_id === own && <span class="muted"> ({texts.you})</span>}</span><span class="muted small cut block" title={member.email}>{member.email}</span></td>
                    <td>
                      {mayChange && !member.owner ? (
                        <select class="compact" aria-label={texts.roleOf(member.name)} value={member.role} disabled={action.busy} onChange={(event) => choose(member, event.currentTarget)}>
                          <RoleOptions chosen={member.role} />
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
        <Confirm
          title={removed.value.account_id === own ? texts.leaveTitle(place.name) : texts.removeTitle(removed.value.name)}
          action={removed.value.account_id === own ? texts.leaveIt : texts.remove}
          busy={action.busy}
          onConfirm={() => remove(removed.value!)}
          onClose={() => (removed.value = undefined)}
        >
          <p class="muted">{removed.value.account_id === own ? texts.leaveHint : texts.removeHint}</p>
        </Confirm>
      )}
      {lowered.value !== undefined && (
        <Confirm title={texts.lowerTitle(texts.roles[lowered.value.role]!)} action={texts.lowerIt} busy={action.busy} onConfirm={() => change(lowered.value!.member, lowered.value!.role)} onClose={() => (lowered.value = undefined)}>
          <p class="muted">{texts.lowerHint}</p>
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
        <Field label={texts.role}>{(id) => <select id={id} name="role"><RoleOptions chosen="editor" explained /></select>}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{texts.add}</button></div>
      </Form>
    </Dialog>
  );
}
