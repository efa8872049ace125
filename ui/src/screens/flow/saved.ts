/** A flow as the server has it, for all of its screens: without what only its editor needs. */
import { etagOf, request, type Schemas } from "../../api/client";

/** A flow as it was last loaded or saved. */
export interface Saved {
  readonly flow: Schemas["FlowDetail"];
  readonly etag: string;
}

export async function loadFlow(id: string, abort?: AbortSignal): Promise<Saved> {
  const { data, headers } = await request("get", "/api/v1/flows/{id}", { path: { id }, signal: abort });
  // The editor knows one kind of line break; offsets of faults are in its text.
  return { flow: { ...data, definition: data.definition.replace(/\r\n?/g, "\n") }, etag: etagOf(headers) };
}
