/** The parameters of a step, for a comparison. */
import { api } from "../api/client";

/** Return the parameters that an attempt was given, or the latest; undefined if the server cannot evaluate them any more. */
export async function paramsOf(path: { id: string; step_id: number }, signal: AbortSignal, attempt?: number): Promise<unknown> {
  const { params } = await api.get("/api/v1/executions/{id}/steps/{step_id}/params", { path, query: { attempt }, signal }).catch(() => ({ params: undefined }));
  return params?.value ?? params?.text;
}
