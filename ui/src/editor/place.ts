/**
 * The place of a cursor in a YAML text, found by indentation and brackets.
 *
 * It reads the lines before the cursor only, so it also works where the text is no valid YAML: a half-written key is the
 * usual state of a text that somebody writes.
 */

export type Keys = readonly (string | number)[];

export interface Place {
  /** The keys of the map or list in which something is written, or of the value itself. */
  readonly path: Keys;
  /** `value` after `key: ` or within a list; `key` where a key, or a value below its key, may begin. */
  readonly kind: "key" | "value";
  /** Where the word begins that is being written, and the word up to the cursor. */
  readonly from: number;
  readonly word: string;
  readonly isFlow: boolean;
  /** Columns before the key, for lines that follow. */
  readonly indent: number;
  /** The quote that is open before the word. */
  readonly quote: string;
  /** The brackets that end what is open, the innermost first. */
  readonly closing: string;
}

interface Block {
  readonly indent: number;
  readonly key: string | number;
}

interface Flow {
  readonly bracket: "{" | "[";
  key: string | number | null;
}

const KEY = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#[\]{},"'&*!|>%@`-][^#]*?|-[^\s#][^#]*?)\s*:(?=\s|$)/;

/** Return the place of a cursor; null within a comment. */
export function placeAt(text: string, offset: number): Place | null {
  const scanner = new Scanner();
  const start = text.lastIndexOf("\n", offset - 1) + 1;
  for (let at = 0; at < start; ) {
    const end = text.indexOf("\n", at);
    scanner.line(text.slice(at, end).replace(/\r$/, ""));
    at = end + 1;
  }
  return scanner.last(text.slice(start, offset), start);
}

class Scanner {
  private blocks: Block[] = [];
  private flows: Flow[] = [];
  private quote = "";
  private word = "";
  private wordAt = 0;
  private scalarIndent: number | null = null;
  private isComment = false;

  /** Read a whole line before the cursor's. */
  line(text: string): void {
    if (this.isInScalar(text)) return;
    if (this.flows.length > 0 || this.quote !== "") return this.scan(text, 0);
    const content = text.trimStart();
    if (content === "" || content.startsWith("#") || /^(---|\.\.\.)(\s|$)/.test(text)) return;
    const at = this.openBlocks(text);
    if (at.key === null) return this.scan(text, at.end);
    const rest = text.slice(at.end);
    if (/^\s*[|>][-+0-9]*\s*(#.*)?$/.test(rest)) this.scalarIndent = at.indent;
    else this.scan(text, at.end);
  }

  /** Read the line up to the cursor. Args: start: The offset of the line in the text. */
  last(text: string, start: number): Place | null {
    if (this.isInScalar(text) || (this.scalarIndent !== null && text.trim() === "")) {
      const word = text.trimStart();
      return this.place("value", this.path(), start + text.length - word.length, word);
    }
    this.scalarIndent = null;
    if (this.flows.length > 0 || this.quote !== "") {
      this.word = "";
      this.wordAt = 0;
      this.scan(text, 0);
      return this.inFlow(start);
    }
    const at = this.openBlocks(text);
    this.word = "";
    this.wordAt = at.end;
    this.scan(text, at.end);
    if (this.isComment) return null;
    if (this.flows.length > 0) return this.inFlow(start);
    const kind = at.key === null ? "key" : "value";
    const quoted = this.quote !== "" ? this.quote : "";
    return { ...this.place(kind, this.path(), start + this.wordAt, this.word), indent: at.indent, quote: quoted };
  }

  private inFlow(start: number): Place | null {
    if (this.isComment) return null;
    const flow = this.flows[this.flows.length - 1];
    const kind = flow?.bracket === "{" && flow.key === null ? "key" : "value";
    return { ...this.place(kind, this.path(), start + this.wordAt, this.word), isFlow: true, quote: this.quote };
  }

  private place(kind: "key" | "value", path: Keys, from: number, word: string): Place {
    const closing = this.flows.map(({ bracket }) => (bracket === "{" ? "}" : "]")).reverse().join("");
    return { path, kind, from, word, isFlow: false, indent: 0, quote: "", closing };
  }

  private path(): Keys {
    const keys: (string | number)[] = this.blocks.map(({ key }) => key);
    for (const { key } of this.flows) if (key !== null) keys.push(key);
    return keys;
  }

  private isInScalar(text: string): boolean {
    if (this.scalarIndent === null) return false;
    const content = text.trimStart();
    if (content === "" || text.length - content.length > this.scalarIndent) return content !== "";
    this.scalarIndent = null;
    return false;
  }

  /** Open the lists and the key that a line begins; `end` is where its value begins. */
  private openBlocks(text: string): { key: string | null; end: number; indent: number } {
    let indent = text.length - text.trimStart().length;
    let rest = text.slice(indent);
    let dash: RegExpExecArray | null;
    while ((dash = /^-(\s+|$)/.exec(rest)) !== null) {
      let index = 0;
      for (let top = this.top(); top !== undefined && (top.indent > indent || (top.indent === indent && typeof top.key === "number")); top = this.top()) {
        if (top.indent === indent) index = (top.key as number) + 1;
        this.blocks.pop();
      }
      this.blocks.push({ indent, key: index });
      indent += dash[0].length;
      rest = rest.slice(dash[0].length);
      if (dash[1] === "") return { key: null, end: text.length, indent: indent + 1 };
    }
    const isItem = text.slice(0, indent).includes("-");
    while (!isItem && this.top() !== undefined && this.top()!.indent >= indent) this.blocks.pop();
    const key = KEY.exec(rest);
    if (key === null) return { key: null, end: indent, indent };
    const name = unquoted(key[1]!);
    this.blocks.push({ indent, key: name });
    return { key: name, end: indent + key[0].length, indent };
  }

  private top(): Block | undefined {
    return this.blocks[this.blocks.length - 1];
  }

  /** Read brackets, quotes and words from a column on. */
  private scan(text: string, from: number): void {
    this.isComment = false;
    for (let at = from; at < text.length; at++) {
      const letter = text[at]!;
      const flow = this.flows[this.flows.length - 1];
      if (this.quote !== "") {
        if (letter === "\\" && this.quote === '"') this.word += letter + (text[++at] ?? "");
        else if (letter === this.quote) this.quote = "";
        else this.word += letter;
        continue;
      }
      if (this.word === "" && /\s/.test(letter)) this.wordAt = at + 1;
      else if (letter === "#" && (at === 0 || /\s/.test(text[at - 1]!))) {
        this.isComment = true;
        return;
      } else if ((letter === '"' || letter === "'") && this.word.trim() === "") {
        this.quote = letter;
        this.startWord(at + 1);
      } else if ((letter === "{" || letter === "[") && this.word.trim() === "") {
        this.flows.push({ bracket: letter, key: letter === "[" ? 0 : null });
        this.startWord(at + 1);
      } else if (flow !== undefined && (letter === "}" || letter === "]")) {
        this.flows.pop();
        this.startWord(at + 1);
      } else if (flow !== undefined && letter === ",") {
        flow.key = typeof flow.key === "number" ? flow.key + 1 : null;
        this.startWord(at + 1);
      } else if (flow?.bracket === "{" && flow.key === null && letter === ":" && /^(\s|$|[,[\]{}"'])/.test(text.slice(at + 1, at + 2))) {
        flow.key = unquoted(this.word.trim());
        this.startWord(at + 1);
      } else this.word += letter;
    }
  }

  private startWord(at: number): void {
    this.word = "";
    this.wordAt = at;
  }
}

function unquoted(key: string): string {
  if (key.startsWith('"') && key.endsWith('"') && key.length > 1) {
    try {
      return String(JSON.parse(key));
    } catch {
      return key.slice(1, -1);
    }
  }
  return key.startsWith("'") && key.endsWith("'") && key.length > 1 ? key.slice(1, -1).replaceAll("''", "'") : key;
}
