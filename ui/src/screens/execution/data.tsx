/** The data of an execution: input, result, error. */
import { api } from "../../api/client";
import { readable } from "../../execution/names";
import { FINAL, type Detail, type ExecutionStore, type Preview } from "../../execution/store";
import { executions as texts } from "../../texts/executions";
import { step as words } from "../../texts/step";
import { Fault } from "./fault";
import { Compare } from "./compare";
import { Value } from "./value";

/** Return how the whole input, configuration, result or data of the failure of an execution is loaded, and its address. */
export function dataOf({ id }: Detail): { load: (key: "input" | "config" | "result" | "failure") => () => Promise<unknown>; href: string } {
  return {
    load: (key) => async () => {
      const whole = await api.get("/api/v1/executions/{id}", { path: { id } });
      return key === "failure" ? whole.failure?.data : whole[key];
    },
    href: `/api/v1/executions/${id}`,
  };
}

export function DataTab({ store, detail }: { store: ExecutionStore; detail: Detail }) {
  const { load, href } = dataOf(detail);
  const result = detail.result as Preview | undefined;
  const data = detail.failure?.data as Preview | undefined;
  return (
    <div class="content">
      <div class="columns">
        <Value heading="h2" label={words.input} preview={detail.input as unknown as Preview} load={load("input")} href={href} path="flow.input" />
        {detail.config !== undefined && <Value heading="h2" label={words.config} preview={detail.config as unknown as Preview} load={load("config")} href={href} path="config" />}
        {result !== undefined && <Value heading="h2" label={texts.result} preview={result} load={load("result")} href={href} />}
        {detail.failure !== undefined && (
          <section class="stack tight">
            <h2>{texts.result}</h2>
            <Fault detail={detail} message={detail.failure.message} step={detail.failure.step ?? undefined}><code>{detail.failure.type}</code>{detail.failure.step && <> · <span title={detail.failure.step}>{readable(detail.failure.step, store.turns.value)}</span></>}</Fault>
            {data !== undefined && <Value label={words.errorData} preview={data} load={load("failure")} href={href} />}
          </section>
        )}
        {result === undefined && detail.failure === undefined && <section class="stack tight"><h2>{texts.result}</h2><p class="muted">{words.noResult}</p></section>}
      </div>
      {FINAL.has(detail.status) && <Compare detail={detail} />}
    </div>
  );
}
