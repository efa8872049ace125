/** The login: as a page, and as a dialog over a screen whose session has ended. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { useEffect } from "preact/hooks";
import { ApiError } from "../api/client";
import { Dialog } from "../parts/dialog";
import { Failure, Field } from "../parts/parts";
import { common } from "../texts/common";
import { shell } from "../texts/shell";
import { go, location, within } from "./router";
import { account, expired, isSetUp, logIn, open } from "./session";

function LoginForm({ email, onDone }: { email?: string; onDone: () => void }) {
  const fault = useSignal<ApiError | undefined>(undefined);
  const busy = useSignal(false);
  async function submit(event: TargetedEvent<HTMLFormElement, Event>): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    busy.value = true;
    try {
      await logIn(String(form.get("email")), String(form.get("password")));
      onDone();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fault.value = error;
    } finally {
      busy.value = false;
    }
  }
  return (
    <form class="stack" onSubmit={(event) => void submit(event)}>
      {fault.value && <Failure error={fault.value} />}
      <Field label={shell.email}>
        {(id) => <input id={id} name="email" type="email" autocomplete="username" required defaultValue={email} autofocus={email === undefined} />}
      </Field>
      <Field label={shell.password}>
        {(id) => <input id={id} name="password" type="password" autocomplete="current-password" required autofocus={email !== undefined} />}
      </Field>
      <button class="btn primary" disabled={busy.value}>{shell.logIn}</button>
    </form>
  );
}

export function LoginPage() {
  document.title = `${shell.logIn} · ${common.product}`;
  useEffect(() => {
    isSetUp().then((isReady) => { if (!isReady) go("/setup", { replace: true }); }, () => {});
  }, []);
  async function enter(): Promise<void> {
    await open();
    go(within(window.location.origin, location.value.query.get("next")), { replace: true });
  }
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{shell.logIn}</h1>
        <LoginForm onDone={() => void enter()} />
      </div>
    </main>
  );
}

export function ExpiredDialog() {
  if (!expired.value) return null;
  return (
    <Dialog title={shell.expired}>
      <p class="muted">{shell.expiredHint}</p>
      <LoginForm email={account.value?.email} onDone={() => {}} />
    </Dialog>
  );
}
