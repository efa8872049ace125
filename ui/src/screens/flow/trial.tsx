/** One node, run alone with given values, or with those of a past execution. */
import { useSignal } from "@preact/signals";
import { parse, stringify } from "yaml";
import { api, ApiError, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { isMap, type DocumentNode } from "../../graph/document";
import { duration, moment, now } from "../../parts/format";
import { Json } from "../../parts/json";
import { Failure, toneOf } from "../../parts/parts";
import { trial as texts } from "../../texts/trial";
import { statuses } from "../../texts/common";

interface Props {
  flow: string | undefined;
  node: DocumentNode;
  /** The text of the flow when the node is tried. */
  definition: () => string;
}

const NAMES = ["input", "flowInput", "results", "item"] as const;
type Values = Readonly<Record<(typeof NAMES)[number], string>>;
const EMPTY: Values = { input: "", flowInput: "", results: "", item: "" };

export function TrialPanel({ flow, node, definition }: Props) {
  const values = useSignal<Values>(EMPTY);
  const answer = useSignal<Schemas["TrialAnswer"] | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const state = useSignal<"idle" | "running" | "loading" | "missing">("idle");
  const isInside = node.parent !== null;
  const faults = Object.fromEntries(NAMES.map((name) => [name, faultOf(name, values.value[name])]));
  const hasFault = Object.values(faults).some(Boolean);

  async function attempt(run: () => Promise<void>): Promise<void> {
    error.value = undefined;
    try {
      await run();
    } catch (reason) {
      if (!(reason instanceof ApiError)) throw reason;
      error.value = reason;
    }
  }

  async function tryIt(): Promise<void> {
    const { input, flowInput, results, item } = values.peek();
    state.value = "running";
    await attempt(async () => {
      const body = { definition: definition(), node: node.id, input: read(input), flow_input: asMap(flowInput), results: asMap(results), ...(isInside && { item: read(item) }) };
      answer.value = await api.post("/api/v1/nodes/try", { body });
    });
    state.value = "idle";
  }

  async function take(execution: string): Promise<void> {
    if (execution === "") return;
    state.value = "loading";
    await attempt(async () => {
      const found = await valuesOf(execution, node);
      if (found !== undefined) values.value = found;
      state.value = found === undefined ? "missing" : "idle";
    });
    if (state.peek() === "loading") state.value = "idle";
  }

  return (
    <div class="stack">
      <p class="muted small">{texts.warning}</p>
      {flow !== undefined && <PastExecutions flow={flow} onChoose={(id) => void take(id)} />}
      {state.value === "loading" && <p class="small muted" role="status">{texts.loading}</p>}
      {state.value === "missing" && <p class="small" role="status">{texts.notRun}</p>}
      {NAMES.filter((name) => name !== "item" || isInside).map((name) => (
        <div class="field" key={name}>
          <label for={`trial-${name}`}>{texts[name]}</label>
          <textarea id={`trial-${name}`} rows={Math.min(8, values.value[name].split("\n").length)} spellcheck={false} value={values.value[name]} aria-invalid={faults[name] !== undefined} onInput={(event) => (values.value = { ...values.peek(), [name]: event.currentTarget.value })} />
          {faults[name] !== undefined && <span class="fault">{faults[name]}</span>}
        </div>
      ))}
      <span><button class="btn primary" disabled={hasFault || state.value === "running"} onClick={() => void tryIt()}>{state.value === "running" ? texts.running : texts.run}</button></span>
      {error.value !== undefined && <Failure error={error.value} />}
      {answer.value !== undefined && <Answer of={answer.value} />}
    </div>
  );
}

function PastExecutions({ flow, onChoose }: { flow: string; onChoose: (id: string) => void }) {
  const list = useQuery(flow, (signal) => api.get("/api/v1/executions", { query: { flow_id: flow, limit: 20 }, signal }));
  if (list.data === undefined || list.data.executions.length === 0) return null;
  return (
    <div class="field">
      <label for="trial-from">{texts.from}</label>
      <select id="trial-from" onChange={(event) => onChoose(event.currentTarget.value)}>
        <option value="">{texts.none}</option>
        {list.data.executions.map(({ id, status, started_at: at }) => <option key={id} value={id}>{moment(at, now.value)} · {statuses[status] ?? status}</option>)}
      </select>
    </div>
  );
}

function Answer({ of: { status, params, result, action, error, wait, scopes, logs, duration: took } }: { of: Schemas["TrialAnswer"] }) {
  return (
    <section class="stack" role="status">
      <p class="row"><span class={`pill ${toneOf(status === "opened" ? "running" : status)}`}>{texts.statuses[status]}</span><span class="muted small">{duration(took)}</span>{action !== undefined && <span class="tag">{texts.action(action)}</span>}</p>
      {error !== undefined && <div class="alert"><b>{error.message}</b><code>{error.type}</code></div>}
      {wait !== undefined && <p class="small">{texts.waits}</p>}
      {scopes !== undefined && <p class="small">{texts.opened(scopes.length)}</p>}
      {result !== undefined && <div class="stack tight"><h3>{texts.result}</h3><Json label={texts.result} value={result} /></div>}
      {params !== null && <div class="stack tight"><h3>{texts.params}</h3><Json label={texts.params} value={params} /></div>}
      {logs.length > 0 && <div class="stack tight"><h3>{texts.log}</h3><pre>{logs.map(({ level, message }) => `${level} ${message}`).join("\n")}</pre></div>}
    </section>
  );
}

function read(text: string): unknown {
  return text.trim() === "" ? null : (parse(text) as unknown);
}

function asMap(text: string): Record<string, unknown> {
  const value = read(text);
  return isMap(value) ? { ...value } : {};
}

function faultOf(name: (typeof NAMES)[number], text: string): string | undefined {
  try {
    const value = read(text);
    return value !== null && (name === "flowInput" || name === "results") && !isMap(value) ? texts.notMap : undefined;
  } catch {
    return texts.broken;
  }
}

/** Return what a node received in an execution; undefined if that one has not run it. */
async function valuesOf(id: string, node: DocumentNode): Promise<Values | undefined> {
  const [execution, { steps }] = await Promise.all([api.get("/api/v1/executions/{id}", { path: { id } }), api.get("/api/v1/executions/{id}/steps", { path: { id }, query: { limit: 200 } })]);
  // The newest run of the node that is in the first pages: a loop may have run it thousands of times.
  const step = steps.filter(({ node_id: name }) => name === node.label).at(-1);
  if (step === undefined) return undefined;
  const detail = await api.get("/api/v1/executions/{id}/steps/{step_id}", { path: { id, step_id: step.id } });
  const results = Object.fromEntries(steps.flatMap((each) => (each.id < step.id && each.result?.value !== undefined && each.scope === undefined ? [[each.node_id, each.result.value]] : [])));
  const shown = (value: unknown) => (value === undefined || value === null ? "" : stringify(value, { lineWidth: 0 }).trimEnd());
  return { input: shown(detail.input), flowInput: shown(execution.input), results: shown(Object.keys(results).length > 0 ? results : undefined), item: node.parent === null ? "" : shown(detail.input) };
}
