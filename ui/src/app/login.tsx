/** The login: as a page, and as a dialog over a screen whose session has ended or is too old. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { Dialog } from "../parts/dialog";
import { later } from "../parts/later";
import { Field, Form, useForm } from "../parts/form";
import { Failure } from "../parts/parts";
import { common } from "../texts/common";
import { login as words } from "../texts/login";
import { passwords } from "../texts/passwords";
import { shell } from "../texts/shell";
import { answerWithPasskey } from "./passkeys";
import { go, location, within, withQuery } from "./router";
import { account, askedFor, cancelLogIn, finishLogIn, leave, logIn, mustEnrol, unsaved, open, secondStepOf, setUpState } from "./session";

const ForgottenPassword = later<{ onClose: () => void }>(() => import("./forgotten").then((module) => module.ForgottenPassword));
type Step = Schemas["SecondStepNeeded"];

function LoginForm({ email, next, onDone }: { email?: string; next?: string; onDone: () => void }) {
  const step = useSignal<Step | undefined>(undefined);
  const methods = useQuery("methods", (signal) => api.get("/api/v1/auth/methods", { signal }));
  if (step.value !== undefined) return <SecondStep step={step.value} onDone={onDone} onStartOver={() => (step.value = undefined)} />;
  const { password, providers } = methods.data ?? { password: true, providers: [] };
  return (
    <div class="stack">
      {methods.error && <Failure error={methods.error} retry={methods.reload} />}
      {password && <PasswordForm email={email} onDone={onDone} onStep={(found) => (step.value = found)} />}
      {password && providers.length > 0 && <p class="muted small centered">{words.or}</p>}
      {providers.map(({ id, name, start }) => <a key={id} class="btn" href={withQuery(start, { next })}>{shell.logInWith(name)}</a>)}
    </div>
  );
}

function PasswordForm({ email, onDone, onStep }: { email?: string; onDone: () => void; onStep: (step: Step) => void }) {
  const { busy, form } = useForm(async (fields) => {
    try {
      await logIn(String(fields.get("email")), String(fields.get("password")));
    } catch (error) {
      const step = secondStepOf(error);
      if (step === undefined) throw error;
      return onStep(step);
    }
    onDone();
  });
  return (
    <Form {...form}>
      <Field label={shell.email}>
        {(id) => <input id={id} name="email" type="email" autocomplete="username" required defaultValue={email} autofocus={email === undefined} />}
      </Field>
      <Field label={shell.password}>
        {(id) => <input id={id} name="password" type="password" autocomplete="current-password" required autofocus={email !== undefined} />}
      </Field>
      <button class="btn primary" disabled={busy}>{shell.logIn}</button>
    </Form>
  );
}

function SecondStep({ step, onDone, onStartOver }: { step: Step; onDone: () => void; onStartOver: () => void }) {
  const hasCodes = step.methods.includes("totp");
  const isRecovery = useSignal(!hasCodes && step.passkey === undefined);
  const hasRefused = useSignal(false);
  const { challenge, passkey } = step;
  const { busy, run, form } = useForm((fields) => {
    const code = String(fields.get("code"));
    return finishLogIn(isRecovery.value ? { challenge, recovery_code: code } : { challenge, code }).then(onDone);
  });
  async function sign(): Promise<void> {
    const answer = await answerWithPasskey(passkey ?? {});
    hasRefused.value = answer === undefined;
    if (answer !== undefined) run(() => finishLogIn({ challenge, passkey: answer }).then(onDone));
  }
  const label = isRecovery.value ? words.recoveryCode : words.code;
  return (
    <Form {...form}>
      <p class="muted">{words.secondStepHint}</p>
      {hasRefused.value && <p role="alert">{words.passkeyFailed}</p>}
      {passkey !== undefined && <button class="btn primary" type="button" disabled={busy} onClick={() => void sign()}>{words.usePasskey}</button>}
      {(hasCodes || isRecovery.value) && (
        <>
          <Field key={label} label={label}>
            {(id) => <input id={id} class="mono" name="code" inputMode={isRecovery.value ? "text" : "numeric"} autocomplete="one-time-code" required maxLength={40} autofocus />}
          </Field>
          <button class="btn primary" disabled={busy}>{shell.logIn}</button>
        </>
      )}
      <div class="row">
        <button class="btn quiet" type="button" onClick={onStartOver}>{words.startOver}</button>
        {(!isRecovery.value || hasCodes) && <button class="btn quiet right" type="button" onClick={() => (isRecovery.value = !isRecovery.value)}>{isRecovery.value ? words.useCode : words.useRecoveryCode}</button>}
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
  // Such as by a bookmark.
  const isLoggedIn = useMemo(() => account.peek() !== undefined && fault === null, []);
  useEffect(() => {
    if (isLoggedIn) go(within(window.location.origin, next ?? null), { replace: true });
  }, []);
  async function enter(): Promise<void> {
    await open();
    if (!mustEnrol.value) go(within(window.location.origin, next ?? null), { replace: true });
  }
  if (isLoggedIn) return null;
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{isForgotten.value ? passwords.forgotten : shell.logIn}</h1>
        {fault !== null && <div class="alert" role="alert">{words.signOnFault(fault)}</div>}
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
      title={words.unsavedTitle(unsaved.value)}
      onClose={() => (unsaved.value = undefined)}
      actions={<>
        <button class="btn danger" onClick={() => leave(true)}>{words.unsavedDelete}</button>
        <button class="btn primary" onClick={() => leave(false)}>{words.unsavedKeep}</button>
      </>}
    >
      <p class="muted">{words.unsavedHint}</p>
    </Dialog>
  );
}

export function ExpiredDialog() {
  const why = askedFor.value;
  if (why === undefined) return null;
  const { path, query } = location.value;
  const [title, hint] = words.logInAgain[why];
  return (
    <Dialog title={title} isAlone={why === "left" || why === "other"} onClose={why === "recent" ? cancelLogIn : undefined}>
      <p class="muted">{hint}</p>
      <LoginForm email={account.value?.email} next={withQuery(path, Object.fromEntries(query))} onDone={() => {}} />
      {why === "other" && <button class="btn quiet" onClick={() => window.location.assign("/")}>{words.useOther}</button>}
    </Dialog>
  );
}
