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
import { Table } from "../../parts/table";
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
            <Table
              rows={workspaces}
              keyOf={({ id }) => id}
              columns={[
                { head: texts.name, look: "name", cell: ({ id, name }) => <span class="cut block" title={id}>{name}</span> },
                { label: texts.slug, look: "muted", cell: ({ slug }) => <code>{slug}</code> },
                { label: texts.members, look: "num", cell: ({ members }) => count(members) },
                { label: texts.admins, look: "num", cell: ({ admins }) => count(admins) },
                { label: texts.created, look: "muted nowrap", cell: ({ created_at: at }) => <Time at={at} /> },
              ]}
              acts={(each) => <button class="btn quiet" aria-label={texts.joinOf(each.name)} onClick={() => (joined.value = each)}>{texts.join}</button>}
            />
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
