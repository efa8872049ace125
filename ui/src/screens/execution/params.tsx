/** The parameters that the latest attempt of a step was given. The server evaluates them again, so only when they are asked for, or as soon as it has failed. */
import { useSignal } from "@preact/signals";
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import type { Preview, Step } from "../../execution/store";
import { Load } from "../../parts/parts";
import { step as words } from "../../texts/step";
import { Value } from "./value";

export function Params({ id, step }: { id: string; step: Step }) {
  const isAsked = useSignal(step.error !== undefined);
  return isAsked.value ? <Shown id={id} step={step} /> : <div><button class="btn" onClick={() => (isAsked.value = true)}>{words.showParams}</button></div>;
}

function Shown({ id, step }: { id: string; step: Step }) {
  const found = useQuery(`${step.id} ${step.attempts}`, (signal) => api.get("/api/v1/executions/{id}/steps/{step_id}/params", { path: { id, step_id: step.id }, signal }));
  return (
    <Load query={found} rows={3}>
      {({ params, errors, reasons }) => (
        <>
          {params === undefined ? <section><h3>{words.params}</h3><p class="muted small">{words.noParams}</p></section> : <Value label={words.params} preview={params as Preview} type={step.node_type} />}
          {errors.map(({ path, message, reads }) => (
            <section key={path} class="stack tight">
              <p class="small"><code>{path}</code> <span class="bad">{message}</span></p>
              {Object.entries(reads).map(([name, value]) => <Value key={name} label={name} preview={value as Preview} path={name} />)}
            </section>
          ))}
          {reasons.length > 0 && <p class="muted small">{words.notExact} {reasons.join(". ")}.</p>}
        </>
      )}
    </Load>
  );
}
