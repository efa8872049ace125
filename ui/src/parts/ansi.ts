/**
 * Colours of terminals in a text: control sequences of ECMA-48 (ANSI), of which only SGR is drawn and the rest left out.
 * What is found is names of classes and text; nothing of a text becomes markup.
 */

export interface Piece {
  readonly text: string;
  /** Names of classes, such as `ansi-1 ansi-bold`; "" for text as it is. */
  readonly look: string;
}

/** Further pieces are one without a look: each is an element of the page. */
const MOST_PIECES = 200;

// CSI … letter; OSC, DCS, PM, APC and SOS up to their end; two-letter sequences; and sequences that the end of the text cuts.
const SEQUENCE = /\x1b\[([0-?]*)[ -/]*([@-~]?)|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]?/g;
const STYLES: Record<number, string> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 9: "strike" };
/** What 21 to 29 end. */
const ENDS: Record<number, readonly number[]> = { 21: [1], 22: [1, 2], 23: [3], 24: [4], 29: [9] };

interface State {
  fore: number | undefined;
  back: number | undefined;
  isInverse: boolean;
  readonly styles: Set<number>;
}

/** Return the pieces of a text, in their order. */
export function piecesOf(text: string): Piece[] {
  if (!text.includes("\x1b") && !text.includes("\x9b")) return [{ text, look: "" }];
  const state: State = { fore: undefined, back: undefined, isInverse: false, styles: new Set() };
  const pieces: Piece[] = [];
  let at = 0;
  const add = (end: number) => {
    if (end <= at) return;
    const piece = { text: text.slice(at, end), look: lookOf(state) };
    const last = pieces[pieces.length - 1];
    if (last !== undefined && last.look === piece.look) pieces[pieces.length - 1] = { ...last, text: last.text + piece.text };
    else pieces.push(piece);
  };
  for (const found of text.matchAll(SEQUENCE)) {
    add(found.index);
    at = found.index + found[0].length;
    if (pieces.length >= MOST_PIECES) return [...pieces, { text: withoutSequences(text.slice(at)), look: "" }];
    if (found[2] === "m") apply(found[1]!, state);
  }
  add(text.length);
  return pieces;
}

/** Return the text alone. */
export function withoutSequences(text: string): string {
  return text.replace(SEQUENCE, "");
}

function lookOf({ fore, back, isInverse, styles }: State): string {
  const [front, behind] = isInverse ? [back, fore ?? 7] : [fore, back];
  const names = [front !== undefined && `ansi-${front}`, behind !== undefined && `ansi-on-${behind}`, ...[...styles].sort((a, b) => a - b).map((code) => `ansi-${STYLES[code]}`)];
  return names.filter(Boolean).join(" ");
}

function apply(parameters: string, state: State): void {
  // Colons separate the parts of one colour.
  const codes = parameters.split(/[;:]/, 32).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    if (code === 0) {
      state.fore = state.back = undefined;
      state.isInverse = false;
      state.styles.clear();
    } else if (STYLES[code] !== undefined) state.styles.add(code);
    else if (ENDS[code] !== undefined) for (const ended of ENDS[code]) state.styles.delete(ended);
    else if (code === 7 || code === 27) state.isInverse = code === 7;
    else if (code === 38 || code === 48) {
      const isIndexed = codes[i + 1] === 5;
      const colour = isIndexed ? ofPalette(codes[i + 2] ?? 0) : codes[i + 1] === 2 ? nearest(codes[i + 2] ?? 0, codes[i + 3] ?? 0, codes[i + 4] ?? 0) : undefined;
      if (colour === undefined) return;
      i += isIndexed ? 2 : 4;
      if (code === 38) state.fore = colour;
      else state.back = colour;
    } else if (code === 39) state.fore = undefined;
    else if (code === 49) state.back = undefined;
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) state.fore = code % 10;
    else if ((code >= 40 && code <= 47) || (code >= 100 && code <= 107)) state.back = code % 10;
  }
}

/** The colour of a palette of 256 as one of the eight, which are readable in both themes. */
function ofPalette(index: number): number {
  if (index < 16) return index % 8;
  if (index >= 232) return index < 244 ? 0 : 7;
  const at = index - 16;
  return nearest(...([Math.floor(at / 36), Math.floor(at / 6) % 6, at % 6].map((level) => level * 51) as [number, number, number]));
}

/** Red, green and blue are each on if they are bright beside the brightest: the hue is kept. */
function nearest(red: number, green: number, blue: number): number {
  const most = Math.max(red, green, blue);
  if (most < 64) return 0;
  const on = (part: number) => (part > most * 0.6 ? 1 : 0);
  return on(red) + 2 * on(green) + 4 * on(blue);
}
