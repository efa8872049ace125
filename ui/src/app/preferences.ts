/** What the account prefers, kept by the server: the same in every browser. */
import { signal } from "@preact/signals";
import { api, ApiError } from "../api/client";

/** A list with its filters, under a name. */
export interface View {
  name: string;
  /** The query of the address. */
  query: string;
}

interface Preferences {
  /** Saved views of the executions. */
  views?: View[];
  /** Columns of the executions that are not shown. */
  hidden?: string[];
}

export const preferences = signal<Preferences>({});
let loading: Promise<void> | undefined;

/** Load them once; until then, and if that fails, nothing is preferred. */
export function loadPreferences(): Promise<void> {
  loading ??= api.get("/api/v1/accounts/me/preferences").then(
    ({ preferences: found }) => { preferences.value = found as Preferences; },
    () => { loading = undefined; },
  );
  return loading;
}

/** Change some of them; what is shown changes at once, and back if the server does not keep it. */
export async function prefer(changes: Preferences): Promise<void> {
  await loadPreferences();
  const before = preferences.peek();
  preferences.value = { ...before, ...changes };
  try {
    await api.put("/api/v1/accounts/me/preferences", { body: { preferences: preferences.peek() as Record<string, unknown> } });
  } catch (error) {
    if (error instanceof ApiError) preferences.value = before;
    throw error;
  }
}
