/** Names of the members of the workspace that is open, for ids that answers have. */
import { signal } from "@preact/signals";
import { api, ApiError } from "../api/client";
import { shortId } from "../parts/format";
import { account, workspace } from "./session";

const names = signal<ReadonlyMap<string, string>>(new Map());
const asked = new Set<string>();

async function load(id: string): Promise<void> {
  if (asked.has(id)) return;
  asked.add(id);
  try {
    const { members } = await api.get("/api/v1/workspaces/{id}/members", { path: { id }, query: { limit: 1000 } });
    names.value = new Map([...names.peek(), ...members.map(({ account_id: account, name }) => [account, name] as const)]);
  } catch (error) {
    // An id is shown as before.
    if (!(error instanceof ApiError)) throw error;
  }
}

/** Return the name of an account; a short id until it is known, and for accounts that are no members. */
export function personOf(id: string): string {
  const own = account.value;
  if (own?.id === id) return own.name;
  const known = names.value.get(id);
  if (known === undefined && workspace.value !== undefined) void load(workspace.value.id);
  return known ?? shortId(id);
}

const ANSWER = /^(Approved|Rejected) by (account-[0-9a-z]{36})/;

/** Return a line of a log with the name of the account that has answered an approval. */
export function withPerson(message: string): string {
  return message.replace(ANSWER, (_, answer: string, id: string) => `${answer} by ${personOf(id)}`);
}
