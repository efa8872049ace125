/** The shared workspaces of the installation, to any of which an admin can add a member. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { account, open } from "../../app/session";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { count } from "../../parts/format";
import { Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { done } from "../../parts/toast";
import { RoleOptions } from "../../parts/roles";
import { useAction } from "../../parts/tools";
import { admin as texts } from "../../texts/admin";
import { common } from "../../texts/common";
import { workspace as words } from "../../texts/workspace";

type Shared = Schemas["SharedWorkspaceAnswer"];
type Role = Schemas["AddMember"]["role"];
const PAGE = 50;

export function Workspaces() {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(cursor, (signal) => api.get("/api/v1/admin/workspaces", { query: { limit: PAGE, cursor, count: true }, signal }));
  const joined = useSignal<Shared | undefined>(undefined);
  return (
    <>
      <Load query={list} rows={4}>
        {({ workspaces, total, next_cursor: next }) => workspaces.length === 0 ? <div class="card"><Empty title={texts.noWorkspaces}><p>{texts.noWorkspacesHint}</p></Empty></div> : (
          <>
            <div class="card scroll">
              <table class="stacked">
                <thead><tr><th>{texts.name}</th><th class="wide-only">{texts.slug}</th><th class="num wide-only">{texts.members}</th><th class="num wide-only">{texts.admins}</th><th class="wide-only">{texts.created}</th><th><span class="hidden">{texts.actions}</span></th></tr></thead>
                <tbody>
                  {workspaces.map((each) => (
                    <tr key={each.id}>
                      <td class="name"><span class="cut block" title={each.id}>{each.name}</span></td>
                      <td class="wide-only muted" data-label={texts.slug}><code>{each.slug}</code></td>
                      <td class="num wide-only" data-label={texts.members}>{count(each.members)}</td>
                      <td class="num wide-only" data-label={texts.admins}>{count(each.admins)}</td>
                      <td class="wide-only muted nowrap" data-label={texts.created}><Time at={each.created_at} /></td>
                      <td class="num acts"><button class="btn quiet" aria-label={texts.joinOf(each.name)} onClick={() => (joined.value = each)}>{texts.join}</button></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <Pager next={next} count={total !== undefined && texts.ofWorkspaces(total)} />
          </>
        )}
      </Load>
      {joined.value !== undefined && <AppointDialog place={joined.value} onAdded={list.reload} onClose={() => (joined.value = undefined)} />}
    </>
  );
}

function AppointDialog({ place, onAdded, onClose }: { place: Shared; onAdded: () => Promise<void>; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const action = useAction();
  function add(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    action.run(async () => {
      const member = await api.post("/api/v1/admin/workspaces/{id}/members", { path: { id: place.id }, body: { account: String(form.get("account")).trim(), role: String(form.get("role")) as Role } });
      // The caller may have added themselves.
      await Promise.all([onAdded(), open()]);
      done(texts.joined(member.name, place.name));
      onClose();
    }, (reason) => (error.value = reason));
  }
  return (
    <Dialog title={texts.joinOf(place.name)} onClose={onClose}>
      <Form error={error.value} conflict="account" onSubmit={add}>
        <p class="muted">{texts.joinHint}</p>
        <Field label={texts.account}>{(id) => <input id={id} name="account" required autofocus autocomplete="off" defaultValue={account.value?.email} />}</Field>
        <Field label={texts.role}>{(id) => <select id={id} name="role"><RoleOptions explained /></select>}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{words.add}</button></div>
      </Form>
    </Dialog>
  );
}
