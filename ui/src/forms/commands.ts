/** The request that a screen sends, as commands for a shell and for Python. */

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** The path from the root of the server. */
  readonly path: string;
  readonly workspace: string | undefined;
  readonly body: unknown;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export function curl(call: Call, origin: string): string {
  const parts = [`curl ${call.method === "GET" ? "" : `-X ${call.method} `}${quoted(origin + call.path)}`, `-H "Authorization: Bearer $FLOWRUNNER_TOKEN"`];
  if (call.workspace !== undefined) parts.push(`-H ${quoted(`Flowrunner-Workspace: ${call.workspace}`)}`);
  if (call.body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(call.body))}`);
  return parts.join(" \\\n  ");
}

/** Return the command that sends a request to a webhook, without the proof of its sender. */
export function hookCurl(url: string): string {
  return `curl -X POST ${quoted(url)} -H 'Content-Type: application/json' -d '{}'`;
}

/** A start of a flow. */
export interface Run {
  readonly flow: string;
  readonly input: Record<string, unknown>;
  readonly labels: Record<string, string>;
  readonly workspace: string | undefined;
}

/** Return a program that starts the flow with the Python client, and waits for its end. */
export function python(run: Run, origin: string): string {
  const place = run.workspace === undefined ? "" : `, workspace=${literal(run.workspace)}`;
  const values = [literal(run.flow), literal(run.input)];
  if (Object.keys(run.labels).length > 0) values.push(`labels=${literal(run.labels)}`);
  return ["import os", "", "from flowrunner.client import Client", "", `client = Client(${literal(origin)}, os.environ["FLOWRUNNER_TOKEN"]${place})`, `execution = client.run(${values.join(", ")}).wait()`, "print(execution.result)"].join("\n");
}

/** Return the command that starts the flow, and waits for its end. */
export function cli(run: Run, origin: string): string {
  const parts = Object.entries(run.input).map(([key, value]) => `-i ${word(`${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)}`);
  for (const [name, value] of Object.entries(run.labels)) parts.push(`--label ${word(`${name}=${value}`)}`);
  if (run.workspace !== undefined) parts.push(`--workspace ${word(run.workspace)}`);
  return ["flowrunner run", word(run.flow), ...parts, `--url ${word(origin)}`, "--wait"].join(" ");
}

function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text);
}

/** Return a JSON value as Python writes it. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${literal(inner)}`).join(", ")}}`;
  return JSON.stringify(value);
}
