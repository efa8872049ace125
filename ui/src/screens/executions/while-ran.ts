/** The filter of what was started while a job ran, by the job or by others: an execution does not say which job has started it. */
export function whileRan({ created_at: since, completed_at: end }: { created_at: string; completed_at?: string }) {
  // The last execution may have been started in the millisecond in which the job ended, and `until` is exclusive.
  return { since, until: end === undefined ? undefined : new Date(Date.parse(end) + 1).toISOString() };
}
