/** The first start: the first admin, and a login as it. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { api, ApiError } from "../api/client";
import { useQuery } from "../api/query";
import { Field, Form } from "../parts/form";
import { common } from "../texts/common";
import { shell } from "../texts/shell";
import { go } from "./router";
import { logIn, open, setUpState } from "./session";

export default function SetUpPage() {
  document.title = `${shell.setUp} · ${common.product}`;
  const fault = useSignal<ApiError | undefined>(undefined);
  const busy = useSignal(false);
  const state = useQuery("set-up", setUpState);
  async function submit(event: TargetedEvent<HTMLFormElement, Event>): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const field = (name: string) => String(form.get(name)).trim();
    busy.value = true;
    fault.value = undefined;
    try {
      const password = String(form.get("password"));
      await api.post("/api/v1/setup", { body: { token: field("token"), name: field("name"), email: field("email"), password } });
      await logIn(field("email"), password);
      await open();
      go("/", { replace: true });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fault.value = error;
    } finally {
      busy.value = false;
    }
  }
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{shell.setUp}</h1>
        <Form error={fault.value} conflict="email" onSubmit={(event) => void submit(event)}>
          <Field label={shell.setUpToken} hint={shell.setUpHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="token" class="mono" autocomplete="off" spellcheck={false} required defaultValue={window.location.hash.slice(1)} />}
          </Field>
          <Field label={shell.setUpName}>{(id) => <input id={id} name="name" autocomplete="name" required maxLength={200} />}</Field>
          <Field label={shell.email}>{(id) => <input id={id} name="email" type="email" autocomplete="username" required />}</Field>
          <Field label={shell.setUpPassword} hint={shell.setUpPasswordHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete="new-password" required minLength={12} />}
          </Field>
          <button class="btn primary" disabled={busy.value}>{shell.setUpDone}</button>
        </Form>
        {state.data?.is_set_up && <a class="btn quiet" href="/login">{shell.toLogIn}</a>}
      </div>
    </main>
  );
}
