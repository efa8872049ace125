/** What the server knows about the language: its schema, its node types, and the names of secrets and configuration values. Loaded once. */
import { api, type Schemas } from "../../api/client";
import type { Known } from "../../editor/names";
import { FlowSchema } from "../../editor/schema";

export type NodeType = Schemas["NodeTypeAnswer"];

export interface Language {
  readonly schema: FlowSchema;
  readonly types: readonly NodeType[];
  readonly known: Known;
}

let language: Promise<{ schema: FlowSchema; types: readonly NodeType[]; errors: readonly string[] }> | undefined;

/** Args: workspace: The id of the workspace whose secrets are named. */
export async function loadLanguage(workspace: string): Promise<Language> {
  language ??= load().catch((error: unknown) => {
    language = undefined;
    throw error;
  });
  const { schema, types, errors } = await language;
  const known: Known = {
    // A viewer may not list secrets: completion goes without them.
    secrets: await secretNames(workspace).catch(() => []),
    config: await configNames().catch(() => []),
    actions: new Map(types.map(({ name, actions }) => [name, actions ?? null])),
    errors: new Map([...types.map((type): [string, readonly string[]] => [type.name, type.errors]), ["", errors]]),
  };
  return { schema, types, known };
}

async function load() {
  const [schema, types] = await Promise.all([api.get("/api/v1/schemas/flow"), api.get("/api/v1/node-types")]);
  return { schema: new FlowSchema(schema as unknown as Record<string, unknown>), types: types.node_types, errors: types.common_errors };
}

async function configNames(): Promise<string[]> {
  return (await api.get("/api/v1/config")).config.map(({ name }) => name);
}

async function secretNames(id: string): Promise<string[]> {
  const { secrets } = await api.get("/api/v1/workspaces/{id}/secrets", { path: { id } });
  return secrets.map(({ key }) => key);
}
