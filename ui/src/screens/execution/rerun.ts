/** Re-runs of an execution. */
import { api, type Schemas } from "../../api/client";
import { go, to } from "../../app/router";
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
