/** The first start: the first admin, and a login as it. */
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { Field, Form, textIn, useForm } from "../parts/form";
import { common } from "../texts/common";
import { login } from "../texts/login";
import { shell } from "../texts/shell";
import { go, location } from "./router";
import { logIn, open, setUpState } from "./session";

export default function SetUpPage() {
  document.title = `${login.setUp} · ${common.product}`;
  const state = useQuery("set-up", setUpState);
  // The address that the server prints may be pasted while this page is open: that loads nothing.
  void location.value;
  const token = window.location.hash.slice(1);
  const { busy, form } = useForm(async (fields) => {
    const [email, password] = [textIn(fields, "email"), String(fields.get("password"))];
    await api.post("/api/v1/setup", { body: { token: textIn(fields, "token"), name: textIn(fields, "name"), email, password } });
    await logIn(email, password);
    await open();
    go("/", { replace: true });
  });
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{login.setUp}</h1>
        <Form denied="token" {...form}>
          <Field label={login.setUpToken} hint={login.setUpHint}>
            {(id, note) => <input id={id} aria-describedby={note} key={token} name="token" class="mono" autocomplete="off" spellcheck={false} required defaultValue={token} autofocus={token === ""} />}
          </Field>
          <Field label={login.setUpName}>{(id) => <input id={id} name="name" autocomplete="name" required maxLength={200} autofocus={token !== ""} />}</Field>
          <Field label={shell.email}>{(id) => <input id={id} name="email" type="email" autocomplete="username" required />}</Field>
          <Field label={login.setUpPassword} hint={login.setUpPasswordHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete="new-password" required minLength={12} />}
          </Field>
          <button class="btn primary" disabled={busy}>{login.setUpDone}</button>
        </Form>
        {state.data?.is_set_up && <a class="btn quiet" href="/login">{login.toLogIn}</a>}
      </div>
    </main>
  );
}
