/** Passkeys of the browser: what the server asks for, as JSON in both directions. */

type Json = Record<string, unknown>;

/** Return true if the browser has passkeys. */
export function hasPasskeys(): boolean {
  return typeof PublicKeyCredential !== "undefined" && "parseCreationOptionsFromJSON" in PublicKeyCredential;
}

/** Sign a challenge with a passkey; undefined if the browser or its user has not. */
export async function answerWithPasskey(options: Json): Promise<Json | undefined> {
  if (!hasPasskeys()) return undefined;
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options as unknown as PublicKeyCredentialRequestOptionsJSON);
  return json(() => navigator.credentials.get({ publicKey }));
}

/** Make a passkey; undefined if the browser or its user has not. */
export async function makePasskey(options: Json): Promise<Json | undefined> {
  if (!hasPasskeys()) return undefined;
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options as unknown as PublicKeyCredentialCreationOptionsJSON);
  return json(() => navigator.credentials.create({ publicKey }));
}

async function json(ask: () => Promise<Credential | null>): Promise<Json | undefined> {
  try {
    const credential = await ask();
    return credential === null ? undefined : ((credential as PublicKeyCredential).toJSON() as unknown as Json);
  } catch (error) {
    // The user has cancelled it, has no authenticator, or has registered this one already.
    if (error instanceof DOMException) return undefined;
    throw error;
  }
}
