/** Faults of a text with their places as offsets. */
import type { TextChange } from "./edits";

export interface Fault {
  readonly from: number;
  readonly to: number;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly hint: string | undefined;
  readonly code: string;
  /** The dotted path in the document, such as `nodes.fetch.next`. */
  readonly path: string;
  readonly isWarning: boolean;
  /** The edit that removes it, if one is certain. */
  readonly fix: TextChange | undefined;
}

/** A fault as the API reports it. */
export interface ReportedFault {
  path: string;
  code: string;
  message: string;
  hint?: string;
  line?: number;
  column?: number;
  fix?: { line: number; column: number; end_column: number; text: string };
}

/** Return the faults with their offsets in the text that was checked. */
export function placeFaults(text: string, faults: readonly ReportedFault[], isWarning: boolean): Fault[] {
  const starts = lineStarts(text);
  const offset = (line: number, column: number) => {
    const start = starts[Math.min(line, starts.length) - 1] ?? 0;
    const end = starts[Math.min(line, starts.length)] ?? text.length + 1;
    return Math.min(start + columnUnits(text.slice(start, end), column), Math.max(start, end - 1));
  };
  return faults.map((fault): Fault => {
    const [line, column] = [fault.line ?? 1, fault.column ?? 1];
    const from = offset(line, column);
    const { fix } = fault;
    return {
      from,
      to: fix && fix.line === line ? Math.max(offset(line, fix.end_column), wordEnd(text, from)) : wordEnd(text, from),
      line,
      column,
      message: named(fault),
      hint: fault.hint,
      code: fault.code,
      path: fault.path,
      isWarning,
      fix: fix && { from: offset(fix.line, fix.column), to: offset(fix.line, fix.end_column), insert: fix.text },
    };
  });
}

/** Return the message with the name of what it is about, where it has none: its place alone does not say it in a list. */
function named({ message, path }: ReportedFault): string {
  const name = /[^.]+$/.exec(path)?.[0];
  return name !== undefined && message.startsWith("must ") ? `${name} ${message}` : message;
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (const match of text.matchAll(/\r\n|[\r\n\x85\u2028\u2029]/g)) starts.push(match.index + match[0].length);
  return starts;
}

/** The API counts characters, strings here count UTF-16 units. */
function columnUnits(line: string, column: number): number {
  let units = 0;
  for (const letter of line) {
    if (column-- <= 1) break;
    units += letter.length;
  }
  return units;
}

/** Return the end of the word or the quoted text at an offset; at least one character where there is one. */
function wordEnd(text: string, from: number): number {
  const rest = text.slice(from, from + 200);
  const length = /^("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,{}[\]]+)/.exec(rest)?.[0].replace(/:$/, "").length ?? 0;
  return from + Math.max(length, rest.length > 0 && rest[0] !== "\n" ? 1 : 0);
}
