/** The dialog that starts an execution: a form of the flow's inputs, JSON, and commands that do the same. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { parse } from "yaml";
import { api } from "../../api/client";
import { parseJson } from "../../api/json";
import { useQuery } from "../../api/query";
import { go, to } from "../../app/router";
import { namedWorkspace } from "../../app/session";
import { cli, curl, python, type Call, type Run } from "../../forms/commands";
import { SchemaField } from "../../forms/field";
import { inputFields, textOf, valueOf } from "../../forms/fields";
import { readLabels } from "../../forms/labels";
import { isMap } from "../../graph/document";
import { Dialog } from "../../parts/dialog";
import { fieldFaults } from "../../parts/field-faults";
import { Field } from "../../parts/form";
import { Failure } from "../../parts/parts";
import { useStart } from "../../parts/start";
import { done } from "../../parts/toast";
import { CopyButton, useAction } from "../../parts/tools";
import { run as texts } from "../../texts/run";
import { common } from "../../texts/common";

interface Props {
  flow: { id: string; name: string };
  definition: string;
  /** Saves the text first; false if somebody else has saved another one. Absent if it is saved. Raises: ApiError. */
  save?: () => Promise<boolean>;
  onClose: () => void;
}

type Tab = "form" | "json" | "curl" | "cli" | "python";

/** Return the input that the fields hold, and what is wrong with them by name. */
function readForm(fields: ReturnType<typeof inputFields>, typed: ReadonlyMap<string, string>): { input: Record<string, unknown>; faults: ReadonlyMap<string, string> } {
  const input: Record<string, unknown> = {};
  const faults = new Map<string, string>();
  for (const field of fields) {
    const result = valueOf(field, typed.get(field.name) ?? "");
    if ("fault" in result) faults.set(field.name, result.fault);
    else if (result.value !== undefined) input[field.name] = result.value;
    else if (field.isRequired) faults.set(field.name, texts.missing);
  }
  return { input, faults };
}

function readJson(text: string): { input?: Record<string, unknown>; fault?: string } {
  try {
    const input = text.trim() === "" ? {} : parseJson(text);
    return isMap(input) ? { input } : { fault: texts.notAnObject };
  } catch (error) {
    return { fault: error instanceof Error ? error.message : texts.notAnObject };
  }
}

function inputsOf(definition: string): unknown {
  try {
    const document = parse(definition, { logLevel: "silent" }) as unknown;
    return isMap(document) ? document.inputs : undefined;
  } catch {
    return undefined;
  }
}

export function RunDialog({ flow, definition, save, onClose }: Props) {
  const fields = useMemo(() => inputFields(inputsOf(definition)), [definition]);
  const tab = useSignal<Tab>("form");
  const typed = useSignal<ReadonlyMap<string, string>>(new Map());
  const json = useSignal<string | undefined>(undefined);
  const labelText = useSignal("");
  const isTried = useSignal(false);
  const starting = useStart();
  const error = useSignal<unknown>(undefined);
  const form = readForm(fields, typed.value);
  const refused = fieldFaults(error.value, { below: "input" });
  const text = json.value ?? JSON.stringify(form.input, null, 2);
  const asJson = readJson(text);
  const isJson = json.value !== undefined;
  const input = isJson ? asJson.input : form.input;
  const read = readLabels(labelText.value);
  const labels = "labels" in read && Object.keys(read.labels).length > 0 ? { labels: read.labels } : {};
  const call: Call = { method: "POST", path: `/api/v1/flows/${encodeURIComponent(flow.id)}/run`, workspace: namedWorkspace.value, body: { input: input ?? {}, ...labels } };
  const command: Run = { flow: flow.name, input: input ?? {}, labels: labels.labels ?? {}, workspace: namedWorkspace.value };

  function start(): void {
    isTried.value = true;
    if ("fault" in read || input === undefined || (!isJson && form.faults.size > 0)) {
      // Where it was written, it is said what is wrong with it.
      tab.value = isJson ? "json" : "form";
      requestAnimationFrame(() => document.querySelector<HTMLElement>("#run-form [aria-invalid=true]")?.focus());
      return;
    }
    error.value = undefined;
    const body = { input, ...labels };
    starting.run([definition, body], async (headers) => {
      // A conflict is asked about above this dialog, which keeps its input.
      if (save !== undefined && !(await save())) return;
      const started = await api.post("/api/v1/flows/{id}/run", { path: { id: flow.id }, body, headers });
      done(texts.started(flow.name));
      onClose();
      go(to(`/executions/${started.execution_id}`));
    }, (reason) => (error.value = reason));
  }

  const latest = useQuery(flow.id, async (signal) => (await api.get("/api/v1/executions", { query: { flow_id: flow.id, limit: 1 }, signal })).executions[0]?.id);
  const filling = useAction();
  /** Fill in the input of the latest execution; as JSON, if the form has no field for a part of it. */
  async function fill(): Promise<void> {
    const id = latest.data;
    if (id === undefined) return;
    const { input: last } = await api.get("/api/v1/executions/{id}", { path: { id } });
    const values = isMap(last) ? last : {};
    error.value = undefined;
    if (Object.keys(values).some((name) => !fields.some((field) => field.name === name))) json.value = JSON.stringify(values, null, 2);
    else {
      json.value = undefined;
      typed.value = new Map(fields.map((field) => [field.name, Object.hasOwn(values, field.name) ? textOf(field, values[field.name]) : ""]));
    }
  }

  return (
    <Dialog
      title={texts.title(flow.name)}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{common.cancel}</button>
        <button class="btn primary" type="submit" form="run-form" autofocus={fields.length === 0} disabled={starting.busy}>{save === undefined ? texts.run : texts.saveAndRun}</button>
      </>}
    >
      <div class="row tight" role="group" aria-label={texts.ways}>
        {(["form", "json", "curl", "cli", "python"] as const).map((each) => (
          <button key={each} class="chip" aria-pressed={tab.value === each} onClick={() => (tab.value = each)}>{texts.tabs[each]}</button>
        ))}
      </div>
      {latest.data !== undefined && <div><button type="button" class="btn small-btn" disabled={filling.busy} onClick={() => filling.run(fill)}>{texts.fill}</button></div>}
      <form
        id="run-form"
        class="stack"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          start();
        }}
      >
        <div class="stack">
          {tab.value === "form" && isJson && <p class="row">{texts.byJson}<button type="button" class="btn" onClick={() => (json.value = undefined)}>{texts.useForm}</button></p>}
          {tab.value === "form" && !isJson && fields.length === 0 && <p class="muted">{texts.noInputs}</p>}
          {tab.value === "form" && !isJson && fields.map((field, i) => (
            <SchemaField key={field.name} field={field} isFirst={i === 0} text={typed.value.get(field.name) ?? ""} fault={(isTried.value ? form.faults.get(field.name) : undefined) ?? refused.get(field.name)} onText={(value) => { typed.value = new Map(typed.value).set(field.name, value); error.value = undefined; }} />
          ))}
          {tab.value === "json" && (
            <div class="field">
              <label for="run-json">{texts.input}</label>
              <textarea id="run-json" rows={10} spellcheck={false} value={text} aria-invalid={asJson.fault !== undefined} onInput={(event) => (json.value = event.currentTarget.value)} />
              {asJson.fault !== undefined && <span class="fault">{asJson.fault}</span>}
            </div>
          )}
          {tab.value === "curl" && <Command text={curl(call, window.location.origin)} />}
          {tab.value === "python" && <Command text={python(command, window.location.origin)} />}
          {tab.value === "cli" && <Command text={cli(command, window.location.origin)} />}
        </div>
        {(tab.value === "form" || tab.value === "json") && (
          <Field label={texts.labels} hint={texts.labelsHint} fault={isTried.value && "fault" in read ? texts.notALabel(read.fault) : undefined}>
            {(id, note) => <textarea id={id} aria-describedby={note} rows={2} spellcheck={false} value={labelText.value} onInput={(event) => (labelText.value = event.currentTarget.value)} />}
          </Field>
        )}
        {error.value !== undefined && (isJson || !fields.some(({ name }) => refused.has(name))) && <Failure error={error.value} />}
      </form>
    </Dialog>
  );
}

function Command({ text }: { text: string }) {
  return (
    <div class="stack tight">
      <pre>{text}</pre>
      <span><CopyButton text={text} /></span>
    </div>
  );
}
