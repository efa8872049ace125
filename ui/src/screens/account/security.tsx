/** What the account logs in with besides its password: second factors, recovery codes, linked accounts. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { hasPasskeys, makePasskey } from "../../app/passkeys";
import { location, withQuery } from "../../app/router";
import { withRecentLogin } from "../../app/session";
import { useQuestion } from "../../parts/dialog";
import { Field, FormDialog } from "../../parts/form";
import { Load, Time } from "../../parts/parts";
import { ShownOnce } from "../../parts/shown-once";
import { done, warn } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { Table } from "../../parts/table";
import { login } from "../../texts/login";
import { security as texts } from "../../texts/security";

type Factor = Schemas["FactorAnswer"];

export function Security() {
  return (
    <div class="content">
      <Factors />
      <Identities />
    </div>
  );
}

/** The second factors of the account. Args: onConfirmed: Called after one was added, with its recovery codes kept. */
export function Factors({ onConfirmed }: { onConfirmed?: () => void }) {
  const list = useQuery("factors", (signal) => api.get("/api/v1/second-factors", { signal }));
  const app = useSignal<Schemas["TotpAnswer"] | undefined>(undefined);
  const isNewPasskey = useSignal(false);
  const codes = useSignal<string[] | undefined>(undefined);
  const isRenewed = useSignal(false);
  const { ask, question } = useQuestion();
  const action = useAction();
  async function added({ recovery_codes: shown }: Schemas["NewRecoveryCodes"]): Promise<void> {
    app.value = undefined;
    isNewPasskey.value = false;
    await list.reload();
    done(texts.confirmed);
    isRenewed.value = false;
    if (shown.length > 0) codes.value = shown;
    else onConfirmed?.();
  }
  const remove = ({ id, name }: Factor) => ask({
    title: texts.removeTitle(name), action: texts.remove, hint: texts.removeHint, said: texts.removed,
    run: () => withRecentLogin(() => api.delete("/api/v1/second-factors/{id}", { path: { id } })).then(list.reload),
  });
  function startApp(): void {
    action.run(async () => {
      app.value = await withRecentLogin(() => api.post("/api/v1/second-factors/totp", { body: { name: texts.appName } }));
    });
  }
  const renewCodes = () => ask({
    title: texts.newCodesTitle, action: texts.newCodesIt, hint: texts.newCodesHint,
    run: async () => {
      const { recovery_codes: made } = await withRecentLogin(() => api.post("/api/v1/second-factors/recovery-codes"));
      await list.reload();
      isRenewed.value = true;
      codes.value = made;
    },
  });
  return (
    <section class="stack">
      <div class="row">
        <div class="grow"><h2>{texts.factors}</h2><p class="muted">{texts.factorsHint}</p></div>
        {list.data?.passkeys && hasPasskeys() && <button class="btn" disabled={action.busy} onClick={() => (isNewPasskey.value = true)}>{texts.addPasskey}</button>}
        <button class="btn primary" disabled={action.busy} onClick={startApp}>{texts.addApp}</button>
      </div>
      <Load query={list} rows={2}>
        {({ second_factors: factors, recovery_codes_left: left }) => factors.length === 0 ? <div class="card"><p class="padded muted">{texts.none}</p></div> : (
          <>
            <Table
              rows={factors}
              keyOf={({ id }) => id}
              columns={[
                { head: texts.name, look: "name", cell: ({ name }) => <span class="cut block">{name}</span> },
                { head: texts.type, look: "muted", cell: ({ type }) => texts.types[type] },
                { label: texts.added, look: "muted", cell: ({ created_at: at }) => <Time at={at} /> },
                { label: texts.used, look: "muted", cell: ({ last_used_at: at }) => (at === undefined ? texts.never : <Time at={at} how="relative" />) },
              ]}
              acts={(factor) => <button class="btn quiet" aria-label={`${texts.remove} ${factor.name}`} onClick={() => remove(factor)}>{texts.remove}</button>}
            />
            <div class="row"><p class="muted grow">{texts.codes}: {texts.codesLeft(left)}</p><button class="btn" onClick={renewCodes}>{texts.newCodes}</button></div>
          </>
        )}
      </Load>
      {app.value !== undefined && <NewApp made={app.value} onAdded={added} onClose={() => (app.value = undefined)} />}
      {isNewPasskey.value && <NewPasskey onAdded={added} onClose={() => (isNewPasskey.value = false)} />}
      {codes.value !== undefined && <Codes codes={codes.value} isRenewed={isRenewed.value} onClose={() => { codes.value = undefined; onConfirmed?.(); }} />}
      {question}
    </section>
  );
}

interface Adding {
  onAdded: (codes: Schemas["NewRecoveryCodes"]) => Promise<void>;
  onClose: () => void;
}

function NewApp({ made, onAdded, onClose }: { made: Schemas["TotpAnswer"] } & Adding) {
  const confirm = async (form: FormData) => onAdded(await api.post("/api/v1/second-factors/{id}/confirm", { path: { id: made.id }, body: { code: String(form.get("code")) } }));
  return (
    <FormDialog title={texts.appTitle} action={texts.confirm} onSubmit={confirm} onClose={onClose}>
      <p class="muted">{texts.appHint}</p>
      <img class="qr" src={made.qr_code} alt={texts.qrCode} width={220} height={220} />
      <p class="muted small">{texts.byHand} <code class="mono">{made.secret}</code></p>
      <Field label={texts.code}>{(id) => <input id={id} class="mono" name="code" inputMode="numeric" autocomplete="one-time-code" required maxLength={20} autofocus />}</Field>
    </FormDialog>
  );
}

function NewPasskey({ onAdded, onClose }: Adding) {
  async function create(form: FormData): Promise<void> {
    const { challenge, options } = await withRecentLogin(() => api.post("/api/v1/second-factors/passkeys/options"));
    const passkey = await makePasskey(options);
    if (passkey === undefined) warn(texts.passkeyFailed);
    else await onAdded(await api.post("/api/v1/second-factors/passkeys", { body: { challenge, name: String(form.get("name")), passkey } }));
  }
  return (
    <FormDialog title={texts.passkeyTitle} action={texts.create} onSubmit={create} onClose={onClose}>
      <p class="muted">{texts.passkeyHint}</p>
      <Field label={texts.name}>{(id) => <input id={id} name="name" defaultValue={texts.passkeyName} required maxLength={100} autofocus />}</Field>
    </FormDialog>
  );
}

function Codes({ codes, isRenewed, onClose }: { codes: string[]; isRenewed: boolean; onClose: () => void }) {
  return <ShownOnce title={texts.codesTitle} hint={isRenewed ? `${texts.codesHint} ${texts.codesEarlier}` : texts.codesHint} text={codes.join("\n")} done={texts.kept} onClose={onClose} />;
}

function Identities() {
  const list = useQuery("identities", (signal) => api.get("/api/v1/identities", { signal }));
  const methods = useQuery("methods", (signal) => api.get("/api/v1/auth/methods", { signal }));
  const { ask, question } = useQuestion();
  const action = useAction();
  // The provider has sent the browser back without a link.
  const fault = location.value.query.get("sign_on");
  const providers = methods.data?.providers ?? [];
  if (providers.length === 0 && (list.data?.identities ?? []).length === 0) return null;
  function link(provider: string): void {
    const { path, query } = location.peek();
    // What became of the last attempt is not that of this one.
    const next = withQuery(path, { ...Object.fromEntries(query), sign_on: undefined });
    action.run(async () => {
      const { url } = await withRecentLogin(() => api.post("/api/v1/identities", { body: { provider, next } }));
      window.location.assign(url);
    });
  }
  const unlink = ({ id, subject }: Schemas["IdentityAnswer"]) => ask({
    title: texts.unlinkTitle(subject), action: texts.unlinkIt, hint: texts.unlinkHint, said: texts.unlinked,
    run: () => withRecentLogin(() => api.delete("/api/v1/identities/{id}", { path: { id } })).then(list.reload),
  });
  return (
    <section class="stack">
      <div class="row">
        <div class="grow"><h2>{texts.identities}</h2><p class="muted">{texts.identitiesHint}</p></div>
        {providers.map(({ id, name }) => <button key={id} class="btn" disabled={action.busy} onClick={() => link(id)}>{texts.link(name)}</button>)}
      </div>
      {fault !== null && <div class="alert" role="alert">{login.signOnFault(fault)}</div>}
      <Load query={list} rows={1}>
        {({ identities }) => identities.length === 0 ? <p class="muted">{texts.noIdentities}</p> : (
          <Table
            rows={identities}
            keyOf={({ id }) => id}
            columns={[
              { head: texts.provider, look: "name", cell: ({ issuer, provider }) => <span class="cut block" title={issuer}>{providers.find(({ id }) => id === provider)?.name ?? provider}</span> },
              { head: texts.subject, look: "muted", cell: ({ subject }) => <span class="cut block">{subject}</span> },
              { label: texts.linked, look: "muted", cell: ({ created_at: at }) => <Time at={at} /> },
              { label: texts.used, look: "muted", cell: ({ last_used_at: at }) => (at === undefined ? texts.never : <Time at={at} how="relative" />) },
            ]}
            acts={(identity) => <button class="btn quiet" onClick={() => unlink(identity)}>{texts.unlink}</button>}
          />
        )}
      </Load>
      {question}
    </section>
  );
}
