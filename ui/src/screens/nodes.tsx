/** The catalogue of node types, made from the registry of the server. */
import { useEffect } from "preact/hooks";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery, to } from "../app/router";
import { Head } from "../app/shell";
import { FlowSchema, choicesOf, propertiesOf } from "../editor/schema";
import { Empty, Load } from "../parts/parts";
import { Prose } from "../parts/prose";
import { CopyButton } from "../parts/tools";
import { common } from "../texts/common";
import { nodes as texts } from "../texts/nodes";
import type { NodeType } from "./flow/language";
import { matching } from "./flow/palette";

export default function Nodes() {
  const { query } = location.value;
  const text = query.get("q") ?? "";
  const list = useQuery("", (signal) => api.get("/api/v1/node-types", { signal }));
  const types = list.data?.node_types ?? [];
  const found = matching(types, text.toLowerCase());
  const chosen = types.find(({ name }) => name === query.get("type")) ?? found[0];
  return (
    <>
      <Head title={texts.title} beside={list.data && <span class="muted small" role="status">{texts.count(found.length, types.length)}</span>}>
        <div class="filters"><input type="search" class="narrow-input" aria-label={texts.find} placeholder={texts.find} value={text} onInput={(event) => setQuery({ q: event.currentTarget.value || undefined, type: undefined })} /></div>
      </Head>
      <div class="content catalogue">
        <Load query={list} rows={12}>
          {({ common_errors: errors }) =>
            chosen === undefined ? (
              <div class="card"><Empty title={texts.none}><button class="btn" onClick={() => setQuery({ q: undefined, type: undefined })}>{texts.showAll}</button></Empty></div>
            ) : (
              <>
                <nav class="card type-list" aria-label={texts.title}>
                  {found.map((type) => (
                    <a key={type.name} data-nav href={to("/nodes", { q: text || undefined, type: type.name })} aria-current={type.name === chosen.name ? "true" : undefined}>
                      <b class="mono">{type.name}</b><span class="muted small cut"><Prose text={type.description} /></span>
                    </a>
                  ))}
                </nav>
                <TypePanel key={chosen.name} type={chosen} commonErrors={errors} />
              </>
            )
          }
        </Load>
      </div>
    </>
  );
}

function TypePanel({ type, commonErrors }: { type: NodeType; commonErrors: readonly string[] }) {
  const schema = new FlowSchema(type.params_schema);
  const properties = propertiesOf(schema, schema.at([], {}), [], {});
  useEffect(() => {
    document.title = `${type.name} · ${texts.title} · ${common.product}`;
  });
  const marks = [type.pure && texts.pure, !type.pure && type.repeatable && texts.repeatable, type.child_scopes !== undefined && texts.child].filter(Boolean);
  return (
    <article class="card padded stack" aria-label={type.name}>
      <div class="stack tight">
        <h2 class="mono">{type.name}</h2>
        <p><Prose text={type.description} /></p>
        {marks.length > 0 && <p class="row tight">{marks.map((mark) => <span key={String(mark)} class="tag">{mark}</span>)}</p>}
      </div>
      {type.examples.map((example) => (
        <section key={example} class="stack tight">
          <div class="row"><h3>{texts.example}</h3><CopyButton text={example} look="btn quiet small-btn right" /></div>
          <pre>{example}</pre>
        </section>
      ))}
      <section class="stack tight">
        <h3>{texts.params}</h3>
        {properties.length === 0 && <p class="muted">{texts.noParams}</p>}
        <dl class="params">
          {properties.map((property) => {
            // The type says already that a value may be true or false, an absent one is null, and some descriptions say what all the values are.
            const choices = choicesOf(schema.at([property.name], {})).filter(({ value }) => !["true", "false", "null"].includes(value));
            const areListed = choices.every(({ value }) => property.description?.includes(value));
            const notes = [property.isRequired && texts.required, property.type, property.default !== undefined && texts.default(JSON.stringify(property.default))].filter(Boolean);
            return (
              <div key={property.name}>
                <dt><code>{property.name}</code> <span class="muted small">{notes.join(" · ")}</span></dt>
                <dd class="small">{property.description !== undefined && <Prose text={property.description} />}{!areListed && choices.length < 12 && <span class="muted"> {choices.map(({ value }) => value).join(", ")}</span>}</dd>
              </div>
            );
          })}
        </dl>
      </section>
      <section class="stack tight">
        <h3>{texts.actions}</h3>
        <p class="row tight">{type.actions === undefined ? texts.byParams : type.actions.length === 0 ? texts.ends : type.actions.map((action) => <code key={action} class="tag">{action}</code>)}</p>
      </section>
      <section class="stack tight">
        <h3>{texts.errors}</h3>
        <p class="row tight">{type.errors.map((error) => <code key={error} class="tag">{error}</code>)}<span class="muted small">{texts.commonErrors}</span>{commonErrors.map((error) => <code key={error} class="tag">{error}</code>)}</p>
      </section>
    </article>
  );
}
