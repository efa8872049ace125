/** Re-runs of an execution. */
import { api, type Schemas } from "../../api/client";
import { go, to } from "../../app/router";
import type { Detail, Step } from "../../execution/store";
import { later } from "../../parts/later";
import { done, failed } from "../../parts/toast";
import { executions as texts } from "../../texts/executions";

/** Start a re-run, and show it. */
export async function rerun(id: string, body: Schemas["RerunBody"]): Promise<void> {
  try {
    const started = await api.post("/api/v1/executions/{id}/rerun", { path: { id }, body });
    done(texts.rerunStarted);
    go(to(`/executions/${started.execution_id}`));
  } catch (error) {
    failed(error);
  }
}

/** Args: begin: The step to begin at; by default the failed one, or the start. */
export interface RerunProps { detail: Detail; steps: Step[]; begin?: string; onClose: () => void }

export const RerunDialog = later<RerunProps>(() => import("./actions").then((module) => module.RerunDialog), { isAbove: true });
