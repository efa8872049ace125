/** The flows of the workspace, with tags to choose from. */
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery, to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { Icon } from "../parts/icons";
import { Empty, Load, Time } from "../parts/parts";
import { common } from "../texts/common";
import { flow as words } from "../texts/flow";
import { flows as texts } from "../texts/flows";

const PAGE = 50;

export default function Flows() {
  const { query } = location.value;
  const tag = query.get("tag") ?? undefined;
  const offset = Number(query.get("offset") ?? 0) || 0;
  const list = useQuery(`${workspace.value?.id} ${tag} ${offset}`, (signal) => api.get("/api/v1/flows", { query: { tag, offset, limit: PAGE }, signal }));
  return (
    <>
      <Head title={texts.title} actions={may("editor") && <a class="btn primary" href={to("/flows/new")}><Icon name="plus" />{words.newFlow}</a>} />
      <div class="content">
        {tag !== undefined && <div class="row"><span class="muted">{texts.tagged}</span><button class="chip" aria-pressed="true" aria-label={texts.removeTag(tag)} onClick={() => setQuery({ tag: undefined, offset: undefined })}>{tag} ×</button></div>}
        <Load query={list} rows={8}>
          {({ flows, total = 0 }) =>
            flows.length === 0 && offset === 0 ? (
              <Empty title={tag === undefined ? texts.none : texts.noneTagged(tag)}>
                {tag === undefined && <><p>{texts.noneHint}</p>{may("editor") && <a class="btn primary" href={to("/flows/new")}>{words.newFlow}</a>}</>}
              </Empty>
            ) : (
              <>
                <div class="card scroll">
                  <table>
                    <thead><tr><th>{texts.name}</th><th>{texts.tags}</th><th>{texts.version}</th><th class="num">{texts.revision}</th><th>{texts.changed}</th></tr></thead>
                    <tbody>
                      {flows.map((flow) => (
                        <tr key={flow.id}>
                          <td class="name"><a class="cut" href={to(`/flows/${flow.id}`)} title={flow.name}>{flow.name}</a>{flow.description !== "" && <span class="muted small cut block" title={flow.description}>{flow.description}</span>}</td>
                          <td><span class="row tight">{flow.disabled && <span class="tag">{texts.disabled}</span>}{flow.tags.map((each) => <button key={each} class="chip" onClick={() => setQuery({ tag: each, offset: undefined })}>{each}</button>)}</span></td>
                          <td class="muted">{flow.version}</td>
                          <td class="num">{flow.revision}</td>
                          <td class="muted"><Time at={flow.updated_at} how="relative" /></td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
                {total > PAGE && (
                  <div class="more">
                    <button class="btn" disabled={offset === 0} onClick={() => setQuery({ offset: String(Math.max(0, offset - PAGE)) })}>{common.newer}</button>
                    <button class="btn" disabled={offset + PAGE >= total} onClick={() => setQuery({ offset: String(offset + PAGE) })}>{common.older}</button>
                    {common.shown(Math.min(total, offset + flows.length), total)}
                  </div>
                )}
              </>
            )
          }
        </Load>
      </div>
    </>
  );
}
