/** The page that sets a new password by a link. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { api, ApiError } from "../api/client";
import { Field, Form, useForm } from "../parts/form";
import { common } from "../texts/common";
import { passwords as texts } from "../texts/passwords";
import { login } from "../texts/login";
import { shell } from "../texts/shell";
import { Told } from "./forgotten";
import { takeToken } from "./token";

export default function NewPasswordPage() {
  document.title = `${texts.title} · ${common.product}`;
  const token = useMemo(takeToken, []);
  const isDone = useSignal(false);
  const { busy, form } = useForm((fields) => api.post("/api/v1/auth/new-password", { body: { token, password: String(fields.get("password")) } }).then(() => (isDone.value = true)));
  const isOver = form.error instanceof ApiError && form.error.status === 404;
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{isOver ? texts.over : texts.title}</h1>
        {isOver ? <Told>{texts.overHint}</Told> : isDone.value ? <Told>{texts.done}</Told> : (
          <Form {...form}>
            <Field label={texts.password} hint={login.setUpPasswordHint}>
              {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete="new-password" required autofocus />}
            </Field>
            <p class="muted small">{texts.ends}</p>
            <button class="btn primary" disabled={busy}>{texts.set}</button>
          </Form>
        )}
        <a class="btn quiet" href="/login">{shell.logIn}</a>
      </div>
    </main>
  );
}
