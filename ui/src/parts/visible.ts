/** Text in which nothing reorders what is read. */

const REORDERS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Return the text with the controls of its direction by their names: with them, "Pay 001" can be shown as "Pay 100". */
export function visible(text: string): string {
  return text.replace(REORDERS, (found) => `[U+${found.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`);
}
