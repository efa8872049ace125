/** The shared workspaces of the installation, to any of which an admin can add a member. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { account, open } from "../../app/session";
import { Field, FormDialog, textIn } from "../../parts/form";
import { count } from "../../parts/format";
import { Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { done } from "../../parts/toast";
import { RoleOptions } from "../../parts/roles";
import { admin as texts } from "../../texts/admin";
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
  async function add(form: FormData): Promise<void> {
    const member = await api.post("/api/v1/admin/workspaces/{id}/members", { path: { id: place.id }, body: { account: textIn(form, "account"), role: String(form.get("role")) as Role } });
    // The caller may have added themselves.
    await Promise.all([onAdded(), open()]);
    done(texts.joined(member.name, place.name));
    onClose();
  }
  return (
    <FormDialog title={texts.joinOf(place.name)} action={words.add} conflict="account" onSubmit={add} onClose={onClose}>
      <p class="muted">{texts.joinHint}</p>
      <Field label={texts.account}>{(id) => <input id={id} name="account" required autofocus autocomplete="off" defaultValue={account.value?.email} />}</Field>
      <Field label={texts.role}>{(id) => <select id={id} name="role"><RoleOptions explained /></select>}</Field>
    </FormDialog>
  );
}
