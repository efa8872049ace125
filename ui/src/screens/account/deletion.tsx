/** The deletion of an account, the reader's own or, for an admin, another one. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { withRecentLogin } from "../../app/session";
import { Field, FormDialog, textIn } from "../../parts/form";
import { Failure } from "../../parts/parts";
import { done } from "../../parts/toast";
import { account as texts } from "../../texts/account";
import { common } from "../../texts/common";

type Account = Schemas["AccountAnswer"];

interface Props {
  of: Account;
  onDeleted: () => unknown;
  onClose: () => void;
}

/** The account that a workspace is given to: one of those that are shown, or the id of another one. */
function Heir({ of }: { of: string }) {
  const list = useQuery("heirs", (signal) => api.get("/api/v1/accounts", { query: { limit: 1000 }, signal }));
  if (list.data === undefined) return list.error === undefined ? <p class="muted small">{common.loading}</p> : <Failure error={list.error} retry={list.reload} />;
  const { accounts, next_cursor: more } = list.data;
  const listId = `heirs-of-${of}`;
  const heirs = accounts.filter(({ id, disabled }) => id !== of && !disabled);
  if (more === undefined) {
    return <Field label={texts.heir}>{(field) => <select id={field} name="to" required><option value="">{texts.fates[""]}</option>{heirs.map(({ id, name, email }) => <option key={id} value={id}>{name} ({email})</option>)}</select>}</Field>;
  }
  return (
    <>
      <Field label={texts.heirId}>{(field) => <input id={field} class="mono" name="to" required list={listId} autocomplete="off" spellcheck={false} />}</Field>
      <datalist id={listId}>{heirs.map(({ id, name, email }) => <option key={id} value={id}>{name} ({email})</option>)}</datalist>
    </>
  );
}

export function DeleteAccount({ of: { id, name, email }, onDeleted, onClose }: Props) {
  const fate = useSignal("");
  const typed = useSignal("");
  async function remove(form: FormData): Promise<void> {
    await withRecentLogin(() => api.delete("/api/v1/accounts/{id}", { path: { id }, query: { workspace: fate.value as "delete" | "give" | "keep", to: fate.value === "give" ? textIn(form, "to") : undefined } }));
    done(texts.deleted(name));
    onClose();
    await onDeleted();
  }
  return (
    <FormDialog title={texts.deleteTitle(name)} action={texts.deleteIt} isDanger isUnready={typed.value !== email} onSubmit={remove} onClose={onClose}>
      <Field label={texts.fate}>{(field) => <select id={field} name="workspace" required autofocus value={fate.value} onChange={(event) => (fate.value = event.currentTarget.value)}>{Object.entries(texts.fates).map(([value, label]) => <option key={value} value={value}>{label}</option>)}</select>}</Field>
      {fate.value === "give" && <Heir of={id} />}
      <Field label={common.confirmBy(email)}>{(field) => <input id={field} autocomplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />}</Field>
    </FormDialog>
  );
}
