/** The deletion of an account, the reader's own or, for an admin, another one. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { withRecentLogin } from "../../app/session";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { account as texts } from "../../texts/account";
import { common } from "../../texts/common";

type Account = Schemas["AccountAnswer"];

interface Props {
  of: Account;
  onDeleted: () => unknown;
  onClose: () => void;
}

export function DeleteAccount({ of: { id, name, email }, onDeleted, onClose }: Props) {
  const error = useSignal<unknown>(undefined);
  const fate = useSignal("");
  const typed = useSignal("");
  const action = useAction();
  function remove(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const heir = String(new FormData(event.currentTarget).get("to") ?? "").trim();
    action.run(async () => {
      await withRecentLogin(() => api.delete("/api/v1/accounts/{id}", { path: { id }, query: { workspace: fate.value as "delete" | "give" | "keep", to: fate.value === "give" ? heir : undefined } }));
      done(texts.deleted(name));
      onClose();
      await onDeleted();
    }, (reason) => (error.value = reason));
  }
  return (
    <Dialog title={texts.deleteTitle(name)} onClose={onClose}>
      <Form error={error.value} onSubmit={remove}>
        <Field label={texts.fate}>{(field) => <select id={field} name="workspace" required autofocus value={fate.value} onChange={(event) => (fate.value = event.currentTarget.value)}>{Object.entries(texts.fates).map(([value, label]) => <option key={value} value={value}>{label}</option>)}</select>}</Field>
        {fate.value === "give" && <Field label={texts.heir}>{(field) => <input id={field} class="mono" name="to" required autocomplete="off" spellcheck={false} />}</Field>}
        <Field label={common.confirmBy(email)}>{(field) => <input id={field} autocomplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn danger" disabled={action.busy || typed.value !== email}>{texts.deleteIt}</button></div>
      </Form>
    </Dialog>
  );
}
