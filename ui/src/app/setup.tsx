/** The first start: the first admin, and a login as it. */
import type { TargetedEvent } from "preact";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { Field, Form } from "../parts/form";
import { useSubmission } from "../parts/tools";
import { common } from "../texts/common";
import { login } from "../texts/login";
import { shell } from "../texts/shell";
import { go, location } from "./router";
import { logIn, open, setUpState } from "./session";

export default function SetUpPage() {
  document.title = `${login.setUp} · ${common.product}`;
  const submission = useSubmission();
  const state = useQuery("set-up", setUpState);
  // The address that the server prints may be pasted while this page is open: that loads nothing.
  void location.value;
  const token = window.location.hash.slice(1);
  function submit(event: TargetedEvent<HTMLFormElement, Event>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const field = (name: string) => String(form.get(name)).trim();
    const password = String(form.get("password"));
    submission.run(async () => {
      await api.post("/api/v1/setup", { body: { token: field("token"), name: field("name"), email: field("email"), password } });
      await logIn(field("email"), password);
      await open();
      go("/", { replace: true });
    });
  }
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{login.setUp}</h1>
        <Form error={submission.fault} denied="token" onSubmit={submit}>
          <Field label={login.setUpToken} hint={login.setUpHint}>
            {(id, note) => <input id={id} aria-describedby={note} key={token} name="token" class="mono" autocomplete="off" spellcheck={false} required defaultValue={token} autofocus={token === ""} />}
          </Field>
          <Field label={login.setUpName}>{(id) => <input id={id} name="name" autocomplete="name" required maxLength={200} autofocus={token !== ""} />}</Field>
          <Field label={shell.email}>{(id) => <input id={id} name="email" type="email" autocomplete="username" required />}</Field>
          <Field label={login.setUpPassword} hint={login.setUpPasswordHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete="new-password" required minLength={12} />}
          </Field>
          <button class="btn primary" disabled={submission.busy}>{login.setUpDone}</button>
        </Form>
        {state.data?.is_set_up && <a class="btn quiet" href="/login">{login.toLogIn}</a>}
      </div>
    </main>
  );
}
