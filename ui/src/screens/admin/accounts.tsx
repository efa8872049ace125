/** All accounts of the installation, for its admins. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { account, withRecentLogin } from "../../app/session";
import { Dialog, useQuestion } from "../../parts/dialog";
import { Field, FormDialog } from "../../parts/form";
import { Pager } from "../../parts/pager";
import { Load, Time } from "../../parts/parts";
import { ShownOnce } from "../../parts/shown-once";
import { Table } from "../../parts/table";
import { done, failed } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { admin as texts } from "../../texts/admin";
import { passwords } from "../../texts/passwords";
import { security } from "../../texts/security";
import { DeleteAccount } from "../account/deletion";

type Account = Schemas["AccountAnswer"];
/** As many as the server gives at once, because the browser's own search is the only one here. */
const PAGE = 1000;
const ROLES = ["viewer", "user", "admin"] as const;

export function Accounts() {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(cursor, (signal) => api.get("/api/v1/accounts", { query: { limit: PAGE, cursor, count: true }, signal }));
  const isNew = useSignal(false);
  const { ask, question } = useQuestion();
  const deleted = useSignal<Account | undefined>(undefined);
  const managed = useSignal<Account | undefined>(undefined);
  const action = useAction();
  const isOwn = ({ id }: Account) => id === account.value?.id;
  function reset(what: "factors" | "identities", { id, name }: Account): void {
    const { title, action, hint, done: said } = security.resets[what];
    ask({ title: title(name), action, hint, said, run: () => withRecentLogin(() => api.delete(what === "factors" ? "/api/v1/accounts/{id}/second-factors" : "/api/v1/accounts/{id}/identities", { path: { id } })) });
  }
  const disable = ({ id, name }: Account) => ask({
    title: texts.disableTitle(name), action: texts.disableIt, hint: texts.disableHint, said: texts.disabledNow,
    run: () => api.put("/api/v1/accounts/{id}", { path: { id }, body: { disabled: true } }).then(list.reload),
  });
  const resetLink = useSignal<{ name: string; link: string } | undefined>(undefined);
  function makeLink({ id, name }: Account): void {
    action.run(async () => {
      const { link } = await api.post("/api/v1/accounts/{id}/password-reset", { path: { id } });
      resetLink.value = { name, link: new URL(link, window.location.origin).href };
    });
  }
  function change({ id }: Account, body: Schemas["UpdateAccount"]): void {
    action.run(async () => {
      await api.put("/api/v1/accounts/{id}", { path: { id }, body });
      done(texts.changed);
      await list.reload();
    }, (error) => {
      // What the row shows must be what the server has.
      void list.reload();
      failed(error);
    });
  }
  return (
    <>
      <div class="row"><span class="grow" /><button class="btn primary" onClick={() => (isNew.value = true)}>{texts.newAccount}</button></div>
      <Load query={list} rows={4}>
        {({ accounts, total, next_cursor: next }) => (
          <>
            <Table
              rows={accounts}
              keyOf={({ id }) => id}
              columns={[
                { head: texts.name, look: "name", cell: (each) => <><span class="cut block" title={each.name}>{each.name}{isOwn(each) && <span class="muted"> ({texts.you})</span>}</span><span class="muted small cut block" title={each.email}>{each.email}</span></> },
                {
                  head: texts.role,
                  cell: (each) => (
                    <select class="compact" aria-label={texts.roleOf(each.name)} value={each.role} disabled={isOwn(each) || action.busy} onChange={(event) => change(each, { role: event.currentTarget.value as Account["role"] })}>
                      {ROLES.map((role) => <option key={role} value={role}>{texts.roles[role]}</option>)}
                    </select>
                  ),
                },
                { head: texts.status, cell: ({ disabled }) => <span class={`pill ${disabled ? "off" : "ok"}`}>{disabled ? texts.disabled : texts.active}</span> },
                { label: texts.created, look: "muted nowrap", cell: ({ created_at: at }) => <Time at={at} /> },
              ]}
              acts={(each) => !isOwn(each) && <button class="btn quiet" aria-label={texts.manageOf(each.name)} onClick={() => (managed.value = each)}>{texts.manage}</button>}
            />
            <Pager next={next} count={total !== undefined && texts.ofAccounts(total)} />
          </>
        )}
      </Load>
      {managed.value !== undefined && (
        <ManageDialog
          of={managed.value}
          onClose={() => (managed.value = undefined)}
          onLink={makeLink}
          // With the address that was looked at: its owner may have changed it meanwhile.
          onConfirm={(who) => change(who, { email: who.email, email_confirmed: true })}
          onReset={reset}
          onDelete={(who) => (deleted.value = who)}
          onDisabled={(who) => (who.disabled ? change(who, { disabled: false }) : disable(who))}
        />
      )}
      {question}
      {deleted.value !== undefined && <DeleteAccount of={deleted.value} onDeleted={list.reload} onClose={() => (deleted.value = undefined)} />}
      {resetLink.value !== undefined && (
        <ShownOnce title={passwords.madeTitle(resetLink.value.name)} hint={passwords.madeHint} text={resetLink.value.link} onClose={() => (resetLink.value = undefined)} />
      )}
      {isNew.value && <NewAccount onCreated={list.reload} onClose={() => (isNew.value = false)} />}
    </>
  );
}

interface Managing {
  of: Account;
  onClose: () => void;
  onLink: (account: Account) => void;
  onConfirm: (account: Account) => void;
  onReset: (what: "factors" | "identities", account: Account) => void;
  onDisabled: (account: Account) => void;
  onDelete: (account: Account) => void;
}

/** What an admin can do with another account, one below the other with what it does. */
function ManageDialog({ of, onClose, onLink, onConfirm, onReset, onDisabled, onDelete }: Managing) {
  const { factors, identities } = security.resets;
  const rows: { action: string; hint: string; run: (account: Account) => void }[] = [
    ...(of.disabled ? [] : [{ action: passwords.reset, hint: passwords.resetHint, run: onLink }]),
    ...(of.email_confirmed ? [] : [{ action: texts.confirm, hint: texts.confirmHint(of.email), run: onConfirm }]),
    { action: factors.action, hint: factors.short, run: () => onReset("factors", of) },
    { action: identities.action, hint: identities.short, run: () => onReset("identities", of) },
    { action: of.disabled ? texts.enable : texts.disable, hint: of.disabled ? texts.enableHint : texts.disableHint, run: onDisabled },
    { action: texts.delete, hint: texts.deleteHint, run: onDelete },
  ];
  return (
    <Dialog title={of.name} onClose={onClose}>
      <ul class="card lines">
        {rows.map(({ action, hint, run }) => (
          <li key={action} class="row">
            <span class="grow muted small">{hint}</span>
            <button class="btn" onClick={() => { onClose(); run(of); }}>{action}</button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

function NewAccount({ onCreated, onClose }: { onCreated: () => Promise<void>; onClose: () => void }) {
  async function create(form: FormData): Promise<void> {
    const field = (name: string) => String(form.get(name));
    await api.post("/api/v1/accounts", { body: { name: field("name"), email: field("email"), password: field("password"), role: field("role") as Account["role"], email_confirmed: form.has("confirmed") } });
    await onCreated();
    done(texts.accountCreated(field("name")));
    onClose();
  }
  return (
    <FormDialog title={texts.newAccount} action={texts.newAccount} conflict="email" onSubmit={create} onClose={onClose}>
      <Field label={texts.name}>{(id) => <input id={id} name="name" required autofocus maxLength={200} autocomplete="off" />}</Field>
      <Field label={texts.email}>{(id) => <input id={id} name="email" type="email" required autocomplete="off" />}</Field>
      <label class="check"><input type="checkbox" name="confirmed" /><span>{texts.confirmed} <span class="muted small">{texts.confirmedHint}</span></span></label>
      <Field label={texts.password} hint={texts.passwordHint}>{(id, note) => <input id={id} aria-describedby={note} name="password" type="password" required autocomplete="new-password" />}</Field>
      <Field label={texts.role}>{(id) => <select id={id} name="role">{ROLES.map((role) => <option key={role} value={role} selected={role === "user"}>{texts.roles[role]}: {texts.roleHints[role]}</option>)}</select>}</Field>
    </FormDialog>
  );
}
