/** Requests to the API: typed by its OpenAPI document, in the workspace of the address, with the session's cookie. */
import { signal } from "@preact/signals";
import { setClock } from "../parts/format";
import { common } from "../texts/common";
import { parseJson } from "./json";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
type Method = "get" | "post" | "put" | "delete";
export type PathsWith<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never }[keyof paths];
export type Operation<P extends keyof paths, M extends Method> = paths[P] extends Record<M, infer O> ? O : never;
type Json<C> = C extends { content: { "application/json": infer T } } ? T : undefined;
export type Success<O> = O extends { responses: infer R } ? Json<{ [S in keyof R]: S extends 200 | 201 | 202 ? R[S] : never }[keyof R & (200 | 201 | 202)]> : never;
type Query<O> = O extends { parameters: { query?: infer Q } } ? NonNullable<Q> : Record<string, never>;
type PathParameters<O> = O extends { parameters: { path: infer Q } } ? Q : Record<string, never>;
type Body<O> = O extends { requestBody?: { content: { "application/json": infer B } } } ? B : undefined;

export interface Options<O> {
  path?: PathParameters<O>;
  query?: Query<O>;
  body?: Body<O>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** An answer that is not a success. `status` is 0 if there was no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint?: string,
    readonly details: Partial<Schemas["ErrorDetails"]> = {},
    readonly requestId?: string,
    /** Seconds after which the server may be asked again; undefined if it has named none. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }

  /** It passes without anybody's doing: no answer, too many requests, or a server that starts again. */
  get passes(): boolean {
    return this.code === "unreachable" || [429, 502, 503, 504].includes(this.status);
  }

  /** The same request is refused again: it asks for something that there is not, or that its sender may not have. */
  get lasts(): boolean {
    return this.status >= 400 && this.status < 500 && !this.passes;
  }
}

/** The workspace in which requests act: its id or slug, as in the address. */
export const workspaceHeader = signal<string | undefined>(undefined);

interface Login {
  /** Ask for a new login, after an answer that the session has ended. It resolves after one. */
  again(): Promise<void>;
  /** The login that is asked for because the session has ended; undefined if none is. */
  pending(): Promise<void> | undefined;
  /** How many logins there have been in this page. */
  count(): number;
}

/** How a request whose session has ended gets a new one; set by the session. */
let login: Login | undefined;
export function onExpired(session: Login): void {
  login = session;
}

/** What is asked for before a login. */
const OPEN = /^\/api\/v1\/(setup|auth\/(login|second-factor|methods|password-reset))$/;

export interface Answered<T> {
  data: T;
  headers: Headers;
  status: number;
}

declare global {
  /** Requests of `start.js`, by their workspace and address. */
  var early: Map<string, Promise<Response & { at: number }>> | undefined;
  /** The function of `start.js` that loads the scripts of the screen of an address. */
  var preload: (address: Pick<Location, "pathname" | "search">) => void;
}

/** Milliseconds after the start of the page in which an answer to an early request is used. */
const EARLY = 10_000;

/** Return the answer to the same request that was sent before the scripts were there; each is used once. */
async function sentBefore(method: string, url: string): Promise<Response | undefined> {
  const key = `${workspaceHeader.peek() ?? ""} ${url}`;
  const sent = method === "get" ? globalThis.early?.get(key) : undefined;
  globalThis.early?.delete(key);
  if (sent === undefined || performance.now() > EARLY) return undefined;
  const response = await sent.catch(() => undefined);
  if (!response?.ok) return undefined;
  setClock(response.headers.get("Date"), response.at);
  return response;
}

async function send(method: string, url: string, options: Options<unknown>): Promise<Response> {
  const before = await sentBefore(method, url);
  if (before !== undefined) return before;
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  if (workspaceHeader.value !== undefined) headers["Flowrunner-Workspace"] = workspaceHeader.value;
  const { body: given }: { body?: unknown } = options;
  let body: string | Blob | undefined;
  if (given !== undefined) {
    headers["Content-Type"] ??= "application/json";
    body = typeof given === "string" || given instanceof Blob ? given : JSON.stringify(given);
  }
  try {
    const response = await fetch(url, { method: method.toUpperCase(), headers, body, signal: options.signal, credentials: "same-origin" });
    setClock(response.headers.get("Date"));
    return response;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw unreachable();
  }
}

export function unreachable(): ApiError {
  return new ApiError(0, "unreachable", common.unreachable, common.unreachableHint);
}

/** Return why a script could not be loaded: the server has those of another version since the page was, or does not answer. */
export async function notLoaded(): Promise<ApiError> {
  const { src } = document.querySelector<HTMLScriptElement>("[type=module]")!;
  const isOver = await fetch(src, { method: "HEAD", cache: "no-store" }).then(({ status }) => status === 404, () => false);
  return isOver ? new ApiError(0, "updated", common.updated, common.updatedHint) : unreachable();
}

async function errorOf(response: Response): Promise<ApiError> {
  // Most pages meet no error, and their first load is the smaller.
  const words = await import("../texts/hints").catch(() => undefined);
  // A proxy may give a date, which is not read.
  const retryAfter = Number(response.headers.get("Retry-After") ?? undefined) || undefined;
  try {
    const { error } = (await response.json()) as Schemas["ErrorAnswer"];
    const only = error.details.errors?.length === 1 ? error.details.errors[0]?.hint : undefined;
    const known = error.code === "not_found" ? words?.hintOfMissing(error.message)
      : error.code === "too_many_requests" ? words?.hintOfLimit(error.message, retryAfter)
      : words?.hints[error.code];
    const hint = only ?? known ?? (error.hint && (words?.forPeople[error.hint] ?? error.hint));
    return new ApiError(response.status, error.code, error.message, hint, error.details, error.request_id, retryAfter);
  } catch {
    const [message, hint] = words?.foreign[response.status] ?? [common.status(response.status), common.statusHint];
    return new ApiError(response.status, "unknown", message, hint, {}, undefined, retryAfter);
  }
}

/** Return the address of a request, with its parameters encoded. */
export function addressOf(path: string, parameters: Record<string, unknown> = {}, query: Record<string, unknown> = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(parameters[name])));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    // An empty value has a meaning: the first page of a list, or the flow's own scope.
    if (value === undefined || value === null) continue;
    for (const each of Array.isArray(value) ? value : [value]) search.append(name, String(each));
  }
  const text = search.toString();
  return text === "" ? filled : `${filled}?${text}`;
}

/** Send a request and return its answer, a success. After a new login an unauthorized request is sent again. Raises: ApiError. */
export async function answerTo(method: Method, path: string, options: Options<unknown>): Promise<Response> {
  const url = addressOf(path, options.path as Record<string, unknown>, options.query as Record<string, unknown>);
  const session = OPEN.test(url) ? undefined : login;
  // Another account may be logged in meanwhile.
  await session?.pending();
  const before = session?.count();
  let response = await send(method, url, options);
  if (response.status === 401 && session !== undefined && session.count() !== before) {
    // It was sent in the session before the login that was made meanwhile: nobody is asked for another one.
    response = await send(method, url, options);
  }
  if (response.status === 401 && session !== undefined) {
    await session.again();
    response = await send(method, url, options);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** Send a request and return the answer with its headers. Raises: ApiError. */
export async function request<M extends Method, P extends PathsWith<M>>(
  method: M,
  path: P,
  options: Options<Operation<P, M>> = {},
): Promise<Answered<Success<Operation<P, M>>>> {
  const response = await answerTo(method, path as string, options as Options<unknown>);
  const data = response.status === 204 ? undefined : await read(response, options.signal);
  return { data: data as Success<Operation<P, M>>, headers: response.headers, status: response.status };
}

/**
 * Return the ETag as the server has sent it; empty without one. A proxy that compresses the answer makes it weak (nginx, HAProxy)
 * or appends the encoding (Apache, Caddy), and the server accepts only its own as the state that a change is based on.
 */
export function etagOf(headers: Headers): string {
  return (headers.get("ETag") ?? "").replace(/^W\//, "").replace(/-(?:gzip|br|zstd)"$/, '"');
}

/** Return what the answer holds. Raises: ApiError: The connection has ended within it, or something else has answered, such as a proxy. */
export async function read(response: Response, signal: AbortSignal | undefined): Promise<unknown> {
  try {
    return parseJson(await response.text());
  } catch (error) {
    if (signal?.aborted) throw error;
    throw unreachable();
  }
}

type Call<M extends Method> = <P extends PathsWith<M>>(path: P, options?: Options<Operation<P, M>>) => Promise<Success<Operation<P, M>>>;

function call<M extends Method>(method: M): Call<M> {
  return async (path, options) => (await request(method, path, options)).data;
}

export const api = { get: call("get"), post: call("post"), put: call("put"), delete: call("delete") };
