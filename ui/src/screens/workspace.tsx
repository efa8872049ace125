/** The workspace: its members, what it uses of its limits, tokens, audit log and settings. */
import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { go, location, to, withQuery } from "../app/router";
import { account, may, open, workspace, type Workspace } from "../app/session";
import { Head } from "../app/shell";
import { bytes, count } from "../parts/format";
import { Field, FormDialog, textIn } from "../parts/form";
import { PAGE } from "../parts/pager";
import { Load, Tabs } from "../parts/parts";
import { done } from "../parts/toast";
import { AuditLog } from "./audit/log";
import { Invitations } from "./invitations";
import { Members } from "./workspace/members";
import { WorkspaceSettings } from "./workspace/settings";
import { WorkspaceTokens } from "./workspace/tokens";
import { workspace as texts } from "../texts/workspace";

export default function WorkspaceScreen() {
  const isNew = useSignal(false);
  const place = workspace.value;
  const id = place?.id ?? "";
  if (place === undefined) return null;
  const tabs = may("admin") ? (["members", "tokens", "audit", "settings"] as const) : (["members", "settings"] as const);
  const asked = location.value.query.get("tab");
  const tab = tabs.find((each) => each === asked) ?? "members";
  return (
    <>
      <Head title={texts.titleOf(place.name)} actions={account.value?.role !== "viewer" && <button class="btn" onClick={() => (isNew.value = true)}>{texts.newWorkspace}</button>}>
        <Tabs label={texts.tabs} tabs={tabs.map((name) => ({ label: texts[name], href: withQuery(to("/workspace"), { tab: name === "members" ? undefined : name }), current: name === tab }))} />
      </Head>
      <div class="content">
        {tab === "tokens" && <WorkspaceTokens key={id} place={place} />}
        {tab === "audit" && <AuditLog key={id} of={id} />}
        {tab === "settings" && <WorkspaceSettings key={id} place={place} />}
        {tab === "members" && <People key={id} place={place} />}
      </div>
      {isNew.value && <NewWorkspace onClose={() => (isNew.value = false)} />}
    </>
  );
}

function People({ place }: { place: Workspace }) {
  const { id } = place;
  const cursor = location.value.query.get("cursor") ?? "";
  const members = useQuery(`${id} ${cursor}`, (signal) => api.get("/api/v1/workspaces/{id}/members", { path: { id }, query: { limit: PAGE, cursor }, signal }));
  return (
    <>
      <Members place={place} members={members} />
      {/* One error says what several would repeat. */}
      {members.error === undefined && may("admin") && <Invitations place={place} />}
      {members.error === undefined && <Usage id={id} />}
    </>
  );
}

function NewWorkspace({ onClose }: { onClose: () => void }) {
  async function create(form: FormData): Promise<void> {
    const slug = textIn(form, "slug");
    const made = await api.post("/api/v1/workspaces", { body: { name: String(form.get("name")), ...(slug !== "" && { slug }) } });
    await open();
    done(texts.created(made.name));
    onClose();
    go(`/w/${encodeURIComponent(made.slug)}/workspace`);
  }
  return (
    <FormDialog title={texts.newWorkspace} action={texts.newWorkspace} conflict="slug" onSubmit={create} onClose={onClose}>
      <Field label={texts.name} hint={texts.newHint}>{(id, note) => <input id={id} aria-describedby={note} name="name" required autofocus maxLength={200} />}</Field>
      <Field label={texts.slug} hint={texts.slugHint}>{(id, note) => <input id={id} aria-describedby={note} class="mono" name="slug" maxLength={63} autocomplete="off" spellcheck={false} />}</Field>
    </FormDialog>
  );
}

function Usage({ id }: { id: string }) {
  const usage = useQuery(id, (signal) => api.get("/api/v1/workspaces/{id}/usage", { path: { id }, signal }));
  const most = (limit: number | null, format: (value: number) => string) => (limit === null ? undefined : format(limit));
  return (
    <Load query={usage} rows={3}>
      {({ flows, secrets, config_values: values, store_keys: keys, store_bytes: kept, open_executions: openOnes, members, stored, limits }) => (
        <section class="card padded stack">
          <h2>{texts.usage}</h2>
          <dl class="facts-list">
            <dt>{texts.facts.flows}</dt><dd>{texts.of(count(flows), most(limits.flows, count))}</dd>
            <dt>{texts.facts.open}</dt><dd>{count(openOnes)}</dd>
            <dt>{texts.facts.stored}</dt><dd>{texts.of(bytes(stored), most(limits.stored, bytes))}</dd>
            <dt>{texts.facts.secrets}</dt><dd>{count(secrets)}</dd>
            <dt>{texts.facts.values}</dt><dd>{count(values)}</dd>
            <dt>{texts.facts.store}</dt><dd>{texts.keys(count(keys), bytes(kept))}</dd>
            <dt>{texts.facts.members}</dt><dd>{count(members)}</dd>
          </dl>
        </section>
      )}
    </Load>
  );
}
