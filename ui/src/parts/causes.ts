/** Messages of errors in scripts, which the server begins with the place. */

export interface Cause {
  readonly what: string;
  /** Undefined if the message begins with no place. */
  readonly where?: string;
  readonly place?: Place;
}

/** Where a script is in the document of its flow. */
export interface Place {
  /** The field that holds it: `params.script`. */
  readonly field: string;
  /** The same from the beginning of the document: `nodes.push_all.nodes.push.params.script`. */
  readonly path: string;
  /** The line of that field, from 1. */
  readonly line: number;
  /** The line of the script, from 1; undefined if it is not known. */
  readonly within?: number;
}

const SCRIPT = /^((?:[A-Z][^:\n]{0,60}: )?)The script at ([\w.[\]-]+ \(line \d+\))(?:, line (\d+) of it)?: ([\s\S]+)$/;

/** Return what went wrong, and where; "Error: " alone says nothing. */
export function causeOf(message: string): Cause {
  const found = SCRIPT.exec(message);
  if (found === null) return { what: message };
  const [, before = "", place = "", line, what = ""] = found;
  return {
    what: before + what.replace(/^Error: (?=\S)/, ""), where: line === undefined ? place : `line ${line} of ${place}`,
    place: { ...placeOf(place), line: Number(/\(line (\d+)\)$/.exec(place)?.[1]), within: line === undefined ? undefined : Number(line) },
  };
}

/** Return the path of a place, and its part within its node: `params.script` of `nodes.push_all.nodes.push.params.script (line 48)`. */
function placeOf(place: string): Pick<Place, "path" | "field"> {
  const path = place.replace(/ \(line \d+\)$/, "");
  const keys = path.split(".");
  const at = keys.lastIndexOf("nodes");
  return { path, field: at < 0 || keys.length < at + 3 ? path : keys.slice(at + 2).join(".") };
}

/** Return a message with its cause first, and the place after it. */
export function causeFirst(message: string): string {
  const { what, where } = causeOf(message);
  return where === undefined ? message : `${what} (${where})`;
}

/** Return the name of the configuration value that a flow names and the workspace has not, or had not at the start. */
export function missingConfig(message: string): string | undefined {
  return /there (?:is|was) no configuration value '(\w+)'(?: at the start)?$/.exec(message)?.[1];
}

/** Return the name of the secret that a node has read and the workspace has not. */
export function missingSecret(message: string): string | undefined {
  return /there is no secret '(\w+)'$/.exec(message)?.[1];
}
