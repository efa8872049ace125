/** The data of an execution: input, result, error. */
import { api } from "../../api/client";
import { FINAL, type Detail, type Preview } from "../../execution/store";
import { causeOf } from "../../parts/causes";
import { executions as texts } from "../../texts/executions";
import { LastSuccess } from "./last-success";
import { Value } from "./value";

export function DataTab({ detail }: { detail: Detail }) {
  const load = (key: "input" | "result") => async () => (await api.get("/api/v1/executions/{id}", { path: { id: detail.id } }))[key];
  const href = `/api/v1/executions/${detail.id}`;
  const result = detail.result as Preview | undefined;
  const data = detail.failure?.data as Preview | undefined;
  const cause = detail.failure && causeOf(detail.failure.message);
  return (
    <div class="content">
      <div class="columns">
        <Value heading="h2" label={texts.input} preview={detail.input as unknown as Preview} load={load("input")} href={href} path="flow.input" />
        {result !== undefined && <Value heading="h2" label={texts.result} preview={result} load={load("result")} href={href} />}
        {detail.failure !== undefined && (
          <section class="stack tight">
            <h2>{texts.result}</h2>
            <div class="alert"><b>{cause?.what}</b>{cause?.where !== undefined && <span class="small">{texts.inScript(cause.where)}</span>}<span class="small"><code>{detail.failure.type}</code>{detail.failure.step && <> · <code>{detail.failure.step}</code></>}</span></div>
            {data !== undefined && <Value label={texts.errorData} preview={data} href={href} />}
          </section>
        )}
        {result === undefined && detail.failure === undefined && <section class="stack tight"><h2>{texts.result}</h2><p class="muted">{texts.noResult}</p></section>}
      </div>
      {FINAL.has(detail.status) && <LastSuccess detail={detail} />}
    </div>
  );
}
