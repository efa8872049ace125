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

export function python(call: Call, origin: string): string {
  const lines = ["import json, os, urllib.request", "", "request = urllib.request.Request(", `    ${JSON.stringify(origin + call.path)},`, `    method=${JSON.stringify(call.method)},`, "    headers={", `        "Authorization": f"Bearer {os.environ['FLOWRUNNER_TOKEN']}",`];
  if (call.workspace !== undefined) lines.push(`        "Flowrunner-Workspace": ${JSON.stringify(call.workspace)},`);
  if (call.body !== undefined) lines.push(`        "Content-Type": "application/json",`);
  lines.push("    },");
  if (call.body !== undefined) lines.push(`    data=json.dumps(${literal(call.body)}).encode(),`);
  lines.push(")", "with urllib.request.urlopen(request) as answer:", "    print(json.load(answer))");
  return lines.join("\n");
}

/** Return a JSON value as Python writes it. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${literal(inner)}`).join(", ")}}`;
  return JSON.stringify(value);
}
