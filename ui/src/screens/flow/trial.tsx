/** One node, run alone with given values, or with those of a past execution. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { isMap, type DocumentNode } from "../../graph/document";
import { duration, moment, now } from "../../parts/format";
import { Json } from "../../parts/json";
import { Failure, toneOf } from "../../parts/parts";
import { trial as texts } from "../../texts/trial";
import { statuses } from "../../texts/common";
import { NAMES, read, type Trial } from "./trial-state";

interface Props {
  flow: string | undefined;
  node: DocumentNode;
  trial: Trial;
  /** The text of the flow when the node is tried. */
  definition: () => string;
}

export function TrialPanel({ flow, node, trial, definition }: Props) {
  const { values, answer, error, state } = trial;
  const isInside = node.parent !== null;
  const faults = Object.fromEntries(NAMES.map((name) => [name, faultOf(name, values.value[name])]));
  const hasFault = Object.values(faults).some(Boolean);

  return (
    <div class="stack">
      <p class="muted small">{texts.warning}</p>
      {flow !== undefined && <PastExecutions flow={flow} chosen={trial.from.value} onChoose={(id) => void trial.take(id, node)} />}
      {state.value === "loading" && <p class="small muted" role="status">{texts.loading}</p>}
      {state.value === "missing" && <p class="small" role="status">{texts.notRun}</p>}
      {NAMES.filter((name) => name !== "item" || isInside).map((name) => (
        <div class="field" key={name}>
          <label for={`trial-${name}`}>{texts[name]}</label>
          <textarea id={`trial-${name}`} rows={Math.min(8, values.value[name].split("\n").length)} spellcheck={false} value={values.value[name]} aria-invalid={faults[name] !== undefined} onInput={(event) => (values.value = { ...values.peek(), [name]: event.currentTarget.value })} />
          {faults[name] !== undefined && <span class="fault">{faults[name]}</span>}
        </div>
      ))}
      <span><button class="btn primary" disabled={hasFault || state.value === "running"} onClick={() => void trial.run(definition(), node)}>{state.value === "running" ? texts.running : texts.run}</button></span>
      {error.value !== undefined && <Failure error={error.value} />}
      {answer.value !== undefined && <Answer of={answer.value} />}
    </div>
  );
}

function PastExecutions({ flow, chosen, onChoose }: { flow: string; chosen: string; onChoose: (id: string) => void }) {
  const list = useQuery(flow, (signal) => api.get("/api/v1/executions", { query: { flow_id: flow, limit: 20 }, signal }));
  if (list.data === undefined || list.data.executions.length === 0) return null;
  return (
    <div class="field">
      <label for="trial-from">{texts.from}</label>
      <select id="trial-from" value={chosen} onChange={(event) => onChoose(event.currentTarget.value)}>
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

function faultOf(name: (typeof NAMES)[number], text: string): string | undefined {
  try {
    const value = read(text);
    return value !== null && (name === "flowInput" || name === "results") && !isMap(value) ? texts.notMap : undefined;
  } catch {
    return texts.broken;
  }
}
