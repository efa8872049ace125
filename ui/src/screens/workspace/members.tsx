/** The members of a workspace and their roles. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import type { Query } from "../../api/query";
import { account, may, open, type Workspace } from "../../app/session";
import { useQuestion } from "../../parts/dialog";
import { Field, FormDialog, textIn } from "../../parts/form";
import { Pager } from "../../parts/pager";
import { Load, Time } from "../../parts/parts";
import { done, failed } from "../../parts/toast";
import { RoleOptions } from "../../parts/roles";
import { Table } from "../../parts/table";
import { useAction } from "../../parts/tools";
import { workspace as texts } from "../../texts/workspace";
import { goElsewhere } from "./leaving";

type Member = Schemas["MemberAnswer"];
type Role = Member["role"];

export function Members({ place, members }: { place: Workspace; members: Query<Schemas["MemberList"]> }) {
  const { ask, question, busy } = useQuestion();
  const isNew = useSignal(false);
  const action = useAction();
  const mayChange = may("admin");
  const path = (member: Member) => ({ id: place.id, account_id: member.account_id });
  const own = account.value?.id;
  const put = (member: Member, role: Role) => api.put("/api/v1/workspaces/{id}/members/{account_id}", { path: path(member), body: { role } });
  function change(member: Member, role: Role): void {
    action.run(async () => {
      await put(member, role);
      done(texts.saved);
      await members.reload();
    }, (error) => {
      void members.reload();
      failed(error);
    });
  }
  function choose(member: Member, select: HTMLSelectElement): void {
    const role = select.value as Role;
    if (member.account_id !== own || role === "admin") return change(member, role);
    // It shows the present role until the new one is confirmed, which the reader may not be able to take back.
    select.value = member.role;
    ask({
      title: texts.lowerTitle(texts.roles[role]!), action: texts.lowerIt, hint: texts.lowerHint, said: texts.saved,
      run: async () => {
        await put(member, role);
        // What the reader may do here is another now.
        await open();
        await members.reload();
      },
    });
  }
  function remove(member: Member): void {
    const work = () => api.delete("/api/v1/workspaces/{id}/members/{account_id}", { path: path(member) });
    ask(member.account_id === own
      ? { title: texts.leaveTitle(place.name), action: texts.leaveIt, hint: texts.leaveHint, run: () => work().then(() => goElsewhere(texts.left(place.name))) }
      : { title: texts.removeTitle(member.name), action: texts.remove, hint: texts.removeHint, run: () => work().then(members.reload), said: texts.removed(member.name) });
  }
  return (
    <>
      <Load query={members} rows={3}>
        {({ members: list, next_cursor: next }) => (
          <section class="card scroll">
            <div class="row card-head"><h2>{texts.members}</h2>{mayChange && <button class="btn right" onClick={() => (isNew.value = true)}>{texts.add}</button>}</div>
            <Table
              isBare
              rows={list}
              keyOf={({ account_id: id }) => id}
              columns={[
                { head: texts.name, look: "name", cell: ({ name, email, account_id: id }) => <><span class="cut block" title={name}>{name}{id === own && <span class="muted"> ({texts.you})</span>}</span><span class="muted small cut block" title={email}>{email}</span></> },
                {
                  head: texts.role,
                  cell: (member) => <>
                    {mayChange && !member.owner ? (
                      <select class="compact" aria-label={texts.roleOf(member.name)} value={member.role} disabled={action.busy || busy} onChange={(event) => choose(member, event.currentTarget)}>
                        <RoleOptions chosen={member.role} />
                      </select>
                    ) : <span class="muted">{member.owner ? texts.owner : texts.roles[member.role]}</span>}
                    {member.role_from && <span class="muted small block">{texts.roleFrom(member.role_from)}</span>}
                  </>,
                },
                { label: texts.added, look: "muted", cell: ({ added_at: at }) => <Time at={at} /> },
              ]}
              acts={mayChange && ((member) => !member.owner && <button class="btn quiet" aria-label={`${texts.remove} ${member.name}`} onClick={() => remove(member)}>{texts.remove}</button>)}
            />
            <Pager next={next} />
          </section>
        )}
      </Load>
      {isNew.value && <NewMember place={place} onAdded={members.reload} onClose={() => (isNew.value = false)} />}
      {question}
    </>
  );
}

function NewMember({ place, onAdded, onClose }: { place: Workspace; onAdded: () => Promise<void>; onClose: () => void }) {
  async function add(form: FormData): Promise<void> {
    const member = await api.post("/api/v1/workspaces/{id}/members", { path: { id: place.id }, body: { account: textIn(form, "account"), role: String(form.get("role")) as Role } });
    await onAdded();
    done(texts.memberAdded(member.name));
    onClose();
  }
  return (
    <FormDialog title={texts.add} action={texts.add} conflict="account" onSubmit={add} onClose={onClose}>
      <Field label={texts.account} hint={texts.addHint}>{(id, note) => <input id={id} aria-describedby={note} name="account" required autofocus autocomplete="off" />}</Field>
      <Field label={texts.role}>{(id) => <select id={id} name="role"><RoleOptions chosen="editor" explained /></select>}</Field>
    </FormDialog>
  );
}
