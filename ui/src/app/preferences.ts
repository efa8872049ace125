/** What the account prefers, kept by the server: the same in every browser. */
import { signal } from "@preact/signals";
import { ApiError, etagOf, request, type Answered, type Schemas } from "../api/client";

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

/** What the server has, and its state there; undefined until it has been loaded. */
let kept: { preferences: Preferences; etag: string } | undefined;
let loading: Promise<void> | undefined;
const ADDRESS = "/api/v1/accounts/me/preferences";
/** Other tabs may change them at the same moment; not so often in a row. */
const ATTEMPTS = 5;

function keep({ data, headers }: Answered<Schemas["PreferencesAnswer"]>): void {
  kept = { preferences: data.preferences as Preferences, etag: etagOf(headers) };
  preferences.value = kept.preferences;
}

/** Load them once; until then, and if that fails, nothing is preferred. Raises: ApiError: They could not be loaded. */
export function loadPreferences(): Promise<void> {
  loading ??= request("get", ADDRESS).then(keep, (error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/**
 * Change some of them; what is shown changes at once, and back if the server does not keep it.
 *
 * @param change Returns the changes to what is preferred, which another tab may have changed meanwhile.
 */
export async function prefer(change: (present: Preferences) => Preferences): Promise<void> {
  // What could not be loaded must not be replaced.
  await loadPreferences();
  try {
    for (let attempt = 1; ; attempt++) {
      const wanted = { ...kept!.preferences, ...change(kept!.preferences) };
      preferences.value = wanted;
      try {
        return keep(await request("put", ADDRESS, { body: { preferences: wanted as Record<string, unknown> }, headers: { "If-Match": kept!.etag } }));
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 412) || attempt === ATTEMPTS) throw error;
        keep(await request("get", ADDRESS));
      }
    }
  } catch (error) {
    preferences.value = kept!.preferences;
    throw error;
  }
}
