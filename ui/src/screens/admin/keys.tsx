/** Rotations of the keys of the installation, of which an admin can start others. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { withRecentLogin } from "../../app/session";
import { FormDialog } from "../../parts/form";
import { Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { done } from "../../parts/toast";
import { admin as texts } from "../../texts/admin";
import { common } from "../../texts/common";

type Kinds = Schemas["RotateKeys"]["kinds"];
const PAGE = 50;

export function Keys() {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(cursor, (signal) => api.get("/api/v1/keys/rotations", { query: { limit: PAGE, cursor }, signal }), 5000);
  const isNew = useSignal(false);
  const rotate = <button class="btn primary" onClick={() => (isNew.value = true)}>{texts.rotate}</button>;
  return (
    <>
      <div class="row"><p class="muted grow">{texts.keysHint}</p>{rotate}</div>
      <Load query={list} rows={3}>
        {({ rotations, next_cursor: next }) => rotations.length === 0 ? <div class="card"><Empty title={texts.noRotations} /></div> : (
          <>
            <div class="card scroll">
              <table class="stacked">
                <thead><tr><th>{texts.key}</th><th>{texts.status}</th><th class="wide-only">{texts.requested}</th><th class="wide-only">{texts.completedAt}</th><th class="wide-only">{texts.neededUntil}</th></tr></thead>
                <tbody>
                  {rotations.map((each) => (
                    <tr key={each.id}>
                      <td class="name">{texts.keyKinds[each.kind]}</td>
                      <td><span class={`pill ${each.status === "completed" ? "ok" : "run"}`}>{texts.rotationStates[each.status]}</span></td>
                      <td class="wide-only muted" data-label={texts.requested}><Time at={each.requested_at} /></td>
                      <td class="wide-only muted" data-label={texts.completedAt}>{each.completed_at === null ? common.none : <Time at={each.completed_at} />}</td>
                      <td class="wide-only muted" data-label={texts.neededUntil}>{each.needed_until === null ? common.none : <Time at={each.needed_until} />}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <Pager next={next} label={common.older} />
          </>
        )}
      </Load>
      {isNew.value && <RotateDialog onStarted={list.reload} onClose={() => (isNew.value = false)} />}
    </>
  );
}

function RotateDialog({ onStarted, onClose }: { onStarted: () => Promise<void>; onClose: () => void }) {
  const kinds = useSignal<Kinds>([]);
  async function start(): Promise<void> {
    await withRecentLogin(() => api.post("/api/v1/keys/rotations", { body: { kinds: kinds.value } }));
    await onStarted();
    done(texts.rotating);
    onClose();
  }
  return (
    <FormDialog title={texts.rotateTitle} action={texts.rotateIt} isUnready={kinds.value.length === 0} onSubmit={start} onClose={onClose}>
      <p class="muted">{texts.keysHint}</p>
      <fieldset class="plain stack tight">
        <legend class="hidden">{texts.rotateTitle}</legend>
        {(Object.keys(texts.keyKinds) as Kinds).map((kind) => (
          <label key={kind} class="check">
            <input type="checkbox" checked={kinds.value.includes(kind)} onChange={({ currentTarget: { checked } }) => (kinds.value = checked ? [...kinds.value, kind] : kinds.value.filter((each) => each !== kind))} />
            <span>{texts.keyKinds[kind]} <span class="muted small">{texts.keyHints[kind]}</span></span>
          </label>
        ))}
      </fieldset>
    </FormDialog>
  );
}
