/** The login: as a page, and as a dialog over a screen whose session has ended or is too old. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { useEffect } from "preact/hooks";
import { api, ApiError, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { Dialog } from "../parts/dialog";
import { later } from "../parts/later";
import { Field, Form } from "../parts/form";
import { common } from "../texts/common";
import { passwords } from "../texts/passwords";
import { shell } from "../texts/shell";
import { answerWithPasskey } from "./passkeys";
import { go, location, within, withQuery } from "./router";
import { account, askedFor, cancelLogIn, finishLogIn, leave, logIn, mustEnrol, unsaved, open, secondStepOf, setUpState, wrongLogin } from "./session";

const ForgottenPassword = later<{ onClose: () => void }>(() => import("./forgotten").then((module) => module.ForgottenPassword));
type Step = Schemas["SecondStepNeeded"];

/** Run a step of the login; an answer that asks for the second one leads there. */
function useStep(onDone: () => void, onStep: (step: Step) => void) {
  const fault = useSignal<ApiError | undefined>(undefined);
  const busy = useSignal(false);
  async function run(work: () => Promise<void>): Promise<void> {
    busy.value = true;
    fault.value = undefined;
    try {
      await work();
      onDone();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const step = secondStepOf(error);
      if (step === undefined) fault.value = error;
      else onStep(step);
    } finally {
      busy.value = false;
    }
  }
  return { fault, busy, run: (work: () => Promise<void>) => void run(work) };
}

function LoginForm({ email, next, onDone }: { email?: string; next?: string; onDone: () => void }) {
  const step = useSignal<Step | undefined>(undefined);
  const methods = useQuery("methods", (signal) => api.get("/api/v1/auth/methods", { signal }));
  if (step.value !== undefined) return <SecondStep step={step.value} onDone={onDone} onStartOver={() => (step.value = undefined)} />;
  const { password, providers } = methods.data ?? { password: true, providers: [] };
  return (
    <div class="stack">
      {password && <PasswordForm email={email} onDone={onDone} onStep={(found) => (step.value = found)} />}
      {password && providers.length > 0 && <p class="muted small centered">{shell.or}</p>}
      {providers.map(({ id, name, start }) => <a key={id} class="btn" href={withQuery(start, { next })}>{shell.logInWith(name)}</a>)}
    </div>
  );
}

function PasswordForm({ email, onDone, onStep }: { email?: string; onDone: () => void; onStep: (step: Step) => void }) {
  const { fault, busy, run } = useStep(onDone, onStep);
  function submit(event: TargetedEvent<HTMLFormElement, Event>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    run(() => logIn(String(form.get("email")), String(form.get("password"))));
  }
  return (
    <Form error={wrongLogin(fault.value)} onSubmit={submit}>
      <Field label={shell.email}>
        {(id) => <input id={id} name="email" type="email" autocomplete="username" required defaultValue={email} autofocus={email === undefined} />}
      </Field>
      <Field label={shell.password}>
        {(id) => <input id={id} name="password" type="password" autocomplete="current-password" required autofocus={email !== undefined} />}
      </Field>
      <button class="btn primary" disabled={busy.value}>{shell.logIn}</button>
    </Form>
  );
}

function SecondStep({ step, onDone, onStartOver }: { step: Step; onDone: () => void; onStartOver: () => void }) {
  const hasCodes = step.methods.includes("totp");
  const isRecovery = useSignal(!hasCodes && step.passkey === undefined);
  const hasRefused = useSignal(false);
  const { fault, busy, run } = useStep(onDone, () => {});
  const { challenge, passkey } = step;
  function submit(event: TargetedEvent<HTMLFormElement, Event>): void {
    event.preventDefault();
    const code = String(new FormData(event.currentTarget).get("code"));
    run(() => finishLogIn(isRecovery.value ? { challenge, recovery_code: code } : { challenge, code }));
  }
  async function sign(): Promise<void> {
    const answer = await answerWithPasskey(passkey ?? {});
    hasRefused.value = answer === undefined;
    if (answer !== undefined) run(() => finishLogIn({ challenge, passkey: answer }));
  }
  const label = isRecovery.value ? shell.recoveryCode : shell.code;
  return (
    <Form error={fault.value} onSubmit={submit}>
      <p class="muted">{shell.secondStepHint}</p>
      {hasRefused.value && <p role="alert">{shell.passkeyFailed}</p>}
      {passkey !== undefined && <button class="btn primary" type="button" disabled={busy.value} onClick={() => void sign()}>{shell.usePasskey}</button>}
      {(hasCodes || isRecovery.value) && (
        <>
          <Field key={label} label={label}>
            {(id) => <input id={id} class="mono" name="code" inputMode={isRecovery.value ? "text" : "numeric"} autocomplete="one-time-code" required maxLength={40} autofocus />}
          </Field>
          <button class="btn primary" disabled={busy.value}>{shell.logIn}</button>
        </>
      )}
      <div class="row">
        <button class="btn quiet" type="button" onClick={onStartOver}>{shell.startOver}</button>
        {(!isRecovery.value || hasCodes) && <button class="btn quiet right" type="button" onClick={() => (isRecovery.value = !isRecovery.value)}>{isRecovery.value ? shell.useCode : shell.useRecoveryCode}</button>}
      </div>
    </Form>
  );
}

export default function LoginPage() {
  document.title = `${shell.logIn} · ${common.product}`;
  const mailsResets = useSignal(false);
  const isForgotten = useSignal(false);
  useEffect(() => {
    setUpState().then((state) => {
      if (!state.is_set_up) go("/setup", { replace: true });
      mailsResets.value = state.mails_resets;
    }, () => {});
  }, []);
  const next = location.value.query.get("next") ?? undefined;
  const fault = location.value.query.get("sign_on");
  async function enter(): Promise<void> {
    await open();
    if (!mustEnrol.value) go(within(window.location.origin, next ?? null), { replace: true });
  }
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{isForgotten.value ? passwords.forgotten : shell.logIn}</h1>
        {fault !== null && <div class="alert" role="alert">{shell.signOnFaults[fault] ?? shell.signOnFaults.invalid}</div>}
        {isForgotten.value ? <ForgottenPassword onClose={() => (isForgotten.value = false)} /> : <LoginForm next={next} onDone={() => void enter()} />}
        {mailsResets.value && !isForgotten.value && <button class="btn quiet" onClick={() => (isForgotten.value = true)}>{passwords.forgotten}</button>}
      </div>
    </main>
  );
}

/** Asks at a logout what becomes of unsaved texts. */
export function LeavingDialog() {
  if (unsaved.value === undefined) return null;
  return (
    <Dialog
      title={shell.unsavedTitle(unsaved.value)}
      onClose={() => (unsaved.value = undefined)}
      actions={<>
        <button class="btn danger" onClick={() => leave(true)}>{shell.unsavedDelete}</button>
        <button class="btn primary" onClick={() => leave(false)}>{shell.unsavedKeep}</button>
      </>}
    >
      <p class="muted">{shell.unsavedHint}</p>
    </Dialog>
  );
}

export function ExpiredDialog() {
  const why = askedFor.value;
  if (why === undefined) return null;
  const { path, query } = location.value;
  return (
    <Dialog title={why === "expired" ? shell.expired : shell.recent} onClose={why === "recent" ? cancelLogIn : undefined}>
      <p class="muted">{why === "expired" ? shell.expiredHint : shell.recentHint}</p>
      <LoginForm email={account.value?.email} next={withQuery(path, Object.fromEntries(query))} onDone={() => {}} />
    </Dialog>
  );
}
