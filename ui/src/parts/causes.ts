/** Messages of errors in scripts, which the server begins with the place. */

export interface Cause {
  readonly what: string;
  /** Undefined if the message begins with no place. */
  readonly where?: string;
}

const SCRIPT = /^((?:[A-Z][^:\n]{0,60}: )?)The script at ([\w.[\]-]+ \(line \d+\))(?:, line (\d+) of it)?: ([\s\S]+)$/;

/** Return what went wrong, and where; "Error: " alone says nothing. */
export function causeOf(message: string): Cause {
  const found = SCRIPT.exec(message);
  if (found === null) return { what: message };
  const [, before = "", place = "", line, what = ""] = found;
  return { what: before + what.replace(/^Error: (?=\S)/, ""), where: line === undefined ? place : `line ${line} of ${place}` };
}

/** Return a message with its cause first, and the place after it. */
export function causeFirst(message: string): string {
  const { what, where } = causeOf(message);
  return where === undefined ? message : `${what} (${where})`;
}
