/** Which fields of a form the server's answer is about. */
import { ApiError } from "../api/client";
import { common } from "../texts/common";

/**
 * Return what the server says of each field, by the name of the field.
 *
 * @param conflict The field that a conflict is about: the answer does not name it.
 * @param denied The field whose value proves who asks: a 401 is about it.
 * @param below The part of the request that the fields are in, such as `input`.
 */
export function fieldFaults(error: unknown, { conflict, denied, below }: { conflict?: string; denied?: string; below?: string } = {}): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  if (!(error instanceof ApiError)) return found;
  for (const { pointer, message, hint } of error.details.errors ?? []) {
    // A part of a value stands at its field: `/labels/team` at `labels`.
    const names = pointer.slice(1).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
    if (below !== undefined && names.shift() !== below) continue;
    const [field = ""] = names;
    if (!found.has(field)) found.set(field, [sentence(message), hint].filter((text) => text !== undefined).map(common.hint).join(" "));
  }
  const unnamed = { 401: denied, 409: conflict }[error.status];
  if (unnamed !== undefined && found.size === 0) found.set(unnamed, common.hint(error.message));
  return found;
}

/** The server says what a value must be or is not, as the end of a sentence that begins with its name. */
function sentence(message: string): string {
  return message.replace(/^(is|must|has|was|does) /, (verb) => `It ${verb}`);
}
