/** Rotations of the keys of the installation, of which an admin can start others. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { withRecentLogin } from "../../app/session";
import { FormDialog } from "../../parts/form";
import { Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { Table } from "../../parts/table";
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
            <Table
              rows={rotations}
              keyOf={({ id }) => id}
              columns={[
                { head: texts.key, look: "name", cell: ({ kind }) => texts.keyKinds[kind] },
                { head: texts.status, cell: ({ status }) => <span class={`pill ${status === "completed" ? "ok" : "run"}`}>{texts.rotationStates[status]}</span> },
                { label: texts.requested, look: "muted", cell: ({ requested_at: at }) => <Time at={at} /> },
                { label: texts.completedAt, look: "muted", cell: ({ completed_at: at }) => (at === null ? common.none : <Time at={at} />) },
                { label: texts.neededUntil, look: "muted", cell: ({ needed_until: at }) => (at === null ? common.none : <Time at={at} />) },
              ]}
            />
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
