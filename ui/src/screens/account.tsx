/** The reader's own account: profile, password, appearance, API tokens. */
import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { location, to, withQuery } from "../app/router";
import { account, logOut, setUpState, withRecentLogin } from "../app/session";
import { Head } from "../app/shell";
import { setSingleKeys, singleKeys } from "../app/single-keys";
import { setTheme, theme, type Theme } from "../app/theme";
import { Field, Form, useForm } from "../parts/form";
import { Tabs } from "../parts/parts";
import { done } from "../parts/toast";
import { account as texts } from "../texts/account";
import { common } from "../texts/common";
import { keys } from "../texts/keys";
import { DeleteAccount } from "./account/deletion";
import { Security } from "./account/security";
import { Sessions } from "./account/sessions";
import { Tokens } from "./account/tokens";

const TABS = { profile: Profile, security: Security, tokens: Tokens, sessions: Sessions } as const;

export default function Account() {
  const asked = location.value.query.get("tab") ?? "profile";
  const tab = (asked in TABS ? asked : "profile") as keyof typeof TABS;
  const Content = TABS[tab];
  return (
    <>
      <Head title={texts.title} actions={<button class="btn" onClick={() => logOut()}>{texts.logOut}</button>}>
        <Tabs label={texts.tabs} tabs={(Object.keys(TABS) as (keyof typeof TABS)[]).map((name) => ({ label: texts[name], href: withQuery(to("/account"), { tab: name === "profile" ? undefined : name }), current: name === tab }))} />
      </Head>
      <Content />
    </>
  );
}

function Profile() {
  return (
    <div class="content narrow">
      <ProfileForm />
      <Appearance />
      <Keyboard />
      <PasswordForm />
      <Deletion />
    </div>
  );
}

function ProfileForm() {
  const own = account.value;
  const { busy, run, form } = useForm(async (fields) => {
    account.value = await withRecentLogin(() => api.put("/api/v1/accounts/{id}", { path: { id: own!.id }, body: { name: String(fields.get("name")), email: String(fields.get("email")) } }));
    const isMailed = account.value.email !== own!.email && (await setUpState()).mails_resets;
    done(isMailed ? texts.confirmSent : texts.saved);
  });
  if (own === undefined) return null;
  const sendLink = () => run(() => api.post("/api/v1/accounts/me/email-confirmation").then(() => done(texts.confirmSent)));
  return (
    <Form class="card padded stack" {...form}>
      <h2>{texts.profile}</h2>
      <Field label={texts.name}>{(id) => <input id={id} name="name" defaultValue={own.name} required maxLength={200} autocomplete="name" />}</Field>
      <Field label={texts.email}>{(id) => <input id={id} name="email" type="email" defaultValue={own.email} required autocomplete="email" />}</Field>
      {!own.email_confirmed && <p class="row"><span class="muted small">{texts.unconfirmed}</span><button class="btn small-btn right" type="button" disabled={busy} onClick={sendLink}>{texts.confirmAgain}</button></p>}
      <div class="row"><span class="muted small">{texts.role}: {own.role}</span><button class="btn right" disabled={busy}>{common.save}</button></div>
    </Form>
  );
}

function Appearance() {
  return (
    <fieldset class="card padded plain">
      <legend class="hidden">{texts.appearance}</legend>
      <div class="row">
        <h2 aria-hidden="true">{texts.appearance}</h2>
        <span class="row right">
          {(["auto", "light", "dark"] as Theme[]).map((choice) => (
            <button key={choice} class="chip" type="button" aria-pressed={theme.value === choice} onClick={() => setTheme(choice)}>{texts.themes[choice]}</button>
          ))}
        </span>
      </div>
    </fieldset>
  );
}

function Keyboard() {
  return (
    <section class="card padded stack tight">
      <h2>{keys.helpTitle}</h2>
      <label class="check"><input type="checkbox" checked={singleKeys.value} onChange={(event) => setSingleKeys(event.currentTarget.checked)} />{keys.singleKeys}</label>
    </section>
  );
}

function PasswordForm() {
  const { busy, form } = useForm(async (fields, element) => {
    await api.put("/api/v1/accounts/{id}", { path: { id: account.value!.id }, body: { password: String(fields.get("password")), current_password: String(fields.get("current_password")) } });
    element.reset();
    done(texts.changed);
  });
  const identities = useQuery("identities", (signal) => api.get("/api/v1/identities", { signal }));
  if (identities.data?.has_password === false) return <section class="card padded"><h2>{texts.passwordTitle}</h2><p class="muted small">{texts.noPassword}</p></section>;
  return (
    <Form class="card padded stack" {...form}>
      <h2>{texts.passwordTitle}</h2>
      <input type="hidden" name="username" autocomplete="username" value={account.value?.email} />
      <Field label={texts.current}>{(id) => <input id={id} name="current_password" type="password" autocomplete="current-password" required />}</Field>
      <Field label={texts.next} hint={texts.nextHint}>{(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete="new-password" required />}</Field>
      <div class="row"><button class="btn right" disabled={busy}>{texts.change}</button></div>
    </Form>
  );
}

function Deletion() {
  const asks = useSignal(false);
  const own = account.value;
  if (own === undefined) return null;
  const mayDelete = own.role === "admin";
  return (
    <section class="card padded setting">
      <div><h2>{texts.delete}</h2><p class="muted small">{mayDelete ? texts.deleteHint : texts.deleteByAdmins}</p></div>
      {mayDelete && <button class="btn danger" onClick={() => (asks.value = true)}>{texts.delete}…</button>}
      {asks.value && <DeleteAccount of={own} onDeleted={() => window.location.assign("/login")} onClose={() => (asks.value = false)} />}
    </section>
  );
}
