/** Entries of the audit log in words: their objects and details. */
import { shortId } from "../../parts/format";

/** An id that begins with its kind, such as `exec-01m8…` and `session:5fe3…`, needs no other word for it. */
const NAMES_ITS_KIND = /^[a-z]+[-:][0-9a-z]{12,}$/;

/** Return an object of an entry: a name with its kind, or an id that has it. */
export function objectOf({ kind, id }: { kind: string; id: string }): string {
  return NAMES_ITS_KIND.test(id) ? shortId(id) : `${kind} ${id}`.trim();
}

const PLACES: Record<string, (id: string) => string> = {
  flow: (id) => `/flows/${id}`,
  execution: (id) => `/executions/${id}`,
  trigger: (id) => `/triggers?trigger=${id}`,
  callback: (id) => `/callbacks?callback=${id}`,
  job: (id) => `/executions?job=${id}`,
  token: () => "/workspace?tab=tokens",
  secret: () => "/secrets",
  config: () => "/config",
  store: () => "/store",
};

/** Return the kind of the credential of an entry, and the path of its screen, if it is more than a login; undefined for others. */
export function programOf(credential: string): { kind: string; place: string } | undefined {
  const [, kind, id] = /^(token|job):(.+)$/.exec(credential) ?? [];
  return kind === undefined ? undefined : { kind, place: PLACES[kind]!(encodeURIComponent(id!)) };
}

/** Return the path of the screen of an entry's object; undefined if there is none, or the entry says that it was deleted. */
export function placeOf({ action, object: { kind, id } }: { action: string; object: { kind: string; id: string } }): string | undefined {
  return /\.(deleted|revoked)$/.test(action) ? undefined : PLACES[kind]?.(encodeURIComponent(id));
}

/** Return details as "role: operator · scopes: read, run". */
export function detailsOf(details: Record<string, unknown>): string {
  return Object.entries(details).map(([name, value]) => `${name.replaceAll("_", " ")}: ${valueOf(value)}`).join(" · ");
}

function valueOf(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(valueOf).join(", ");
  if (typeof value === "string") return shortId(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return value === null ? "none" : JSON.stringify(value);
}
