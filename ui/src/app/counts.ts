/** Numbers beside entries of the navigation, by path: what waits for the reader. */
import { signal } from "@preact/signals";

export const counts = signal<Record<string, string>>({});
