/** Re-runs of an execution. */
import { api, type Schemas } from "../../api/client";
import { go, to } from "../../app/router";
import type { Detail, Step } from "../../execution/store";
import { later } from "../../parts/later";
import { startOnce } from "../../parts/start";
import { done } from "../../parts/toast";
import { executions as texts } from "../../texts/executions";

/** The re-run that a button starts: one at a time, whichever button it is. */
export const starting = startOnce();

/** Start a re-run, and show it. */
export function rerun(id: string, body: Schemas["RerunBody"]): void {
  starting.run([id, body], async (headers) => {
    const started = await api.post("/api/v1/executions/{id}/rerun", { path: { id }, body, headers });
    done(texts.rerunStarted);
    go(to(`/executions/${started.execution_id}`));
  });
}

/** Args: begin: The step to begin at; by default the failed one, or the start. */
export interface RerunProps { detail: Detail; steps: Step[]; begin?: string; onClose: () => void }

export const RerunDialog = later<RerunProps>(() => import("./actions").then((module) => module.RerunDialog), { isAbove: true });
