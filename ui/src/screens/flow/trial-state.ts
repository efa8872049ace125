/** The trial of one node: its values, and the answer of the last one. It stays while its panel is closed. */
import { signal } from "@preact/signals";
import { stringify } from "yaml";
import { api, ApiError, type Schemas } from "../../api/client";
import { readYaml } from "../../forms/yaml";
import { isMap, type DocumentNode } from "../../graph/document";
import { scopeOf } from "../../execution/names";

export const NAMES = ["input", "flowInput", "results", "item"] as const;
export type Values = Readonly<Record<(typeof NAMES)[number], string>>;
const PAGE = 500;

export class Trial {
  readonly values = signal<Values>({ input: "", flowInput: "", results: "", item: "" });
  /** The past execution whose values were chosen; "" for none. */
  readonly from = signal("");
  readonly answer = signal<Schemas["TrialAnswer"] | undefined>(undefined);
  readonly error = signal<unknown>(undefined);
  readonly state = signal<"idle" | "running" | "loading" | "missing">("idle");

  /** Run the node. Args: definition: The text of its flow. */
  async run(definition: string, node: DocumentNode): Promise<void> {
    const { input, flowInput, results, item } = this.values.peek();
    this.state.value = "running";
    this.error.value = undefined;
    try {
      const body = { definition, node: node.id, input: read(input), flow_input: asMap(flowInput), results: asMap(results), ...(node.parent !== null && { item: read(item) }) };
      this.answer.value = await api.post("/api/v1/nodes/try", { body });
    } catch (reason) {
      if (!(reason instanceof ApiError)) throw reason;
      this.error.value = reason;
    } finally {
      this.state.value = "idle";
    }
  }

  /** Fill in what the node received in an execution. The last choice counts, whichever answer comes last. */
  async take(execution: string, node: DocumentNode): Promise<void> {
    this.from.value = execution;
    this.error.value = undefined;
    if (execution === "") {
      this.state.value = "idle";
      return;
    }
    this.state.value = "loading";
    try {
      const found = await valuesOf(execution, node);
      if (this.from.peek() !== execution) return;
      if (found !== undefined) this.values.value = found;
      this.state.value = found === undefined ? "missing" : "idle";
    } catch (reason) {
      if (!(reason instanceof ApiError)) throw reason;
      if (this.from.peek() !== execution) return;
      this.error.value = reason;
      this.state.value = "idle";
    }
  }
}

export function read(text: string): unknown {
  return text.trim() === "" ? null : readYaml(text);
}

function asMap(text: string): Record<string, unknown> {
  const value = read(text);
  return isMap(value) ? { ...value } : {};
}

/** Return what a node received in its latest run in an execution; undefined if that one has not run it. */
async function valuesOf(id: string, node: DocumentNode): Promise<Values | undefined> {
  const path = { id };
  const [execution, graph] = await Promise.all([api.get("/api/v1/executions/{id}", { path }), api.get("/api/v1/executions/{id}/graph", { path })]);
  const latest = graph.nodes.find((each) => each.id === node.id)?.step;
  if (latest === undefined) return undefined;
  const step = await api.get("/api/v1/executions/{id}/steps/{step_id}", { path: { id, step_id: latest } });
  const scope = scopeOf(step.step);
  const pages = await Promise.all([...new Set(["", scope])].map((each) => api.get("/api/v1/executions/{id}/steps", { path, query: { scope: each, limit: PAGE } })));
  const before = pages.flatMap(({ steps }) => steps).filter((each) => each.id < step.id && each.result?.value !== undefined);
  const results = Object.fromEntries(before.map((each) => [each.node_id, each.result!.value]));
  const shown = (value: unknown) => (value === undefined || value === null ? "" : stringify(value, { lineWidth: 0 }).trimEnd());
  return { input: shown(step.input), flowInput: shown(execution.input), results: shown(before.length > 0 ? results : undefined), item: node.parent === null ? "" : shown(step.input) };
}
