/** Lengths of time as a number and its unit. */

const UNITS = [86_400, 3600, 60, 1] as const;

/** Return a length as a number of the longest unit in which it is whole; no number for none. */
export function lengthOf(seconds: number | null): { number: number | undefined; unit: number } {
  if (seconds === null) return { number: undefined, unit: UNITS[0] };
  const unit = UNITS.find((each) => seconds % each === 0) ?? 1;
  return { number: seconds / unit, unit };
}
