/** YAML for the text editor: colours by line, and folding by indentation. The server and the `yaml` library read it; this only shows it. */
import { foldService, StreamLanguage, type StringStream } from "@codemirror/language";
import type { EditorState } from "@codemirror/state";

/** What the lines above say about the next one. */
interface Lines {
  /** Lines that are indented deeper are text of a block scalar; undefined outside of one. */
  block: number | undefined;
  /** The quote that is still open. */
  quote: string;
  /** The number of open brackets. */
  depth: number;
  /** The column of the last key or dash of this line. */
  indent: number;
  hasKey: boolean;
}

const WHOLE_QUOTED = { '"': /^"(?:[^"\\]|\\.)*"/, "'": /^'(?:[^']|'')*'/ };
const REST_OF_QUOTED: Record<string, RegExp> = { '"': /^(?:[^"\\]|\\.)*"/, "'": /^(?:[^']|'')*'/ };
const BEFORE_VALUE = /^\s*:(?=\s|$)/;
const BEFORE_VALUE_IN_BRACKETS = /^\s*:(?=[\s,[\]{}]|$)/;
/** A character of a plain scalar: what ends one is a colon before a space, a hash behind one, and punctuation within brackets. */
const PLAIN = /^(?:[^\s:]|:(?=\S)|\s+(?=[^\s#:]|:\S))+/;
const PLAIN_IN_BRACKETS = /^(?:[^\s:,[\]{}]|:(?=[^\s,[\]{}])|\s+(?=[^\s#:,[\]{}]|:[^\s,[\]{}]))+/;

/** Return the kind of the next piece of a line, in the words of `tags`; null for plain text. */
function token(stream: StringStream, lines: Lines): string | null {
  if (stream.sol()) {
    if (lines.block !== undefined) {
      if (stream.indentation() > lines.block || /^\s*$/.test(stream.string)) {
        stream.skipToEnd();
        return null;
      }
      lines.block = undefined;
    }
    lines.indent = stream.indentation() - 1;
    lines.hasKey = false;
    if (lines.quote === "" && stream.match(/^(?:---|\.\.\.)(?=\s|$)/)) return "meta";
    if (lines.quote === "" && stream.match(/^%.*/)) return "keyword";
  }
  if (lines.quote !== "") {
    if (stream.match(REST_OF_QUOTED[lines.quote]!)) lines.quote = "";
    else stream.skipToEnd();
    return "string";
  }
  const isAfterSpace = stream.sol() || /\s/.test(stream.string[stream.pos - 1]!);
  if (stream.eatSpace()) return null;
  const next = stream.peek()!;
  if (next === "#" && isAfterSpace) {
    stream.skipToEnd();
    return "comment";
  }
  if ((next === "-" || next === "?") && lines.depth === 0 && !lines.hasKey && /^.(?:\s|$)/.test(stream.string.slice(stream.pos))) {
    lines.indent = stream.column();
    stream.next();
    return "separator";
  }
  const column = stream.column();
  const isOpen = lines.depth > 0;
  const colon = isOpen ? BEFORE_VALUE_IN_BRACKETS : BEFORE_VALUE;
  if (stream.match(colon) || (isOpen && stream.eat(","))) return "separator";
  if (next === "[" || next === "{" || (isOpen && (next === "]" || next === "}"))) {
    lines.depth += next === "[" || next === "{" ? 1 : -1;
    stream.next();
    return next === "[" || next === "]" ? "squareBracket" : "brace";
  }
  if (stream.match(/^[&*][^\s,[\]{}]+/)) return "labelName";
  if (stream.match(/^![^\s,[\]{}]*/)) return "typeName";
  if (!isOpen && stream.match(/^[|>][-+\d]*(?=\s*$|\s+#)/)) {
    lines.block = lines.indent;
    return "string";
  }
  let kind: string | null = null;
  if (next === '"' || next === "'") {
    kind = "string";
    if (!stream.match(WHOLE_QUOTED[next])) {
      stream.skipToEnd();
      lines.quote = next;
      return kind;
    }
  } else if (!stream.match(isOpen ? PLAIN_IN_BRACKETS : PLAIN)) stream.next();
  if ((isOpen || !lines.hasKey) && stream.match(colon, false)) {
    if (!isOpen) [lines.indent, lines.hasKey] = [column, true];
    return "propertyName";
  }
  return kind;
}

const START: Lines = { block: undefined, quote: "", depth: 0, indent: -1, hasKey: false };

export const reader = { token, startState: () => ({ ...START }), languageData: { commentTokens: { line: "#" } } };

/** Return what a line has below it: the lines that are indented deeper, and for a key the items of its list. */
export function below({ doc }: EditorState, from: number, end: number): { from: number; to: number } | null {
  const own = indentOf(doc.sliceString(from, end));
  if (own === undefined) return null;
  const isItem = doc.sliceString(from + own, from + own + 1) === "-";
  let to = end;
  for (let number = doc.lineAt(end).number + 1; number <= doc.lines; number++) {
    const line = doc.line(number);
    const indent = indentOf(line.text);
    if (indent === undefined) continue;
    if (indent < own || (indent === own && (isItem || line.text[indent] !== "-"))) break;
    to = line.to;
  }
  return to > end ? { from: end, to } : null;
}

/** Return the indentation of a line; undefined for an empty one and a comment, which end nothing. */
function indentOf(line: string): number | undefined {
  const found = line.search(/\S/);
  return found < 0 || line[found] === "#" ? undefined : found;
}

export const yaml = [StreamLanguage.define(reader), foldService.of(below)];
