/** What the schema says about the key or the value at a place. */
import { editor as texts } from "../texts/editor";
import type { Hover } from "./code";
import { read } from "./complete";
import { placeAt } from "./place";
import { choicesOf, describe, typesOf, type FlowSchema } from "./schema";

export function hoverAt(text: string, offset: number, schema: FlowSchema): Hover | null {
  const letter = /[\w.-]/;
  let [from, to] = [offset, offset];
  while (from > 0 && letter.test(text[from - 1]!)) from--;
  while (to < text.length && letter.test(text[to]!)) to++;
  if (from === to) return null;
  const place = placeAt(text, to);
  if (place === null) return null;
  const word = text.slice(from, to);
  const isKey = place.kind === "key" && /^["']?\s*:/.test(text.slice(to, to + 4));
  const path = isKey ? [...place.path, word] : place.path;
  if (!isKey && place.kind === "key") return null;
  const applied = schema.at(path, read(text));
  if (applied.length === 0) return null;
  const choices = choicesOf(applied);
  const chosen = isKey ? undefined : choices.find(({ value }) => value === word);
  if (!isKey && chosen === undefined) return null;
  const description = chosen?.description ?? describe(applied);
  const byDefault = applied.find((each) => each.default !== undefined && each.default !== null)?.default;
  const notes = [
    isKey && byDefault !== undefined ? texts.defaultIs(JSON.stringify(byDefault)) : undefined,
    isKey && choices.length > 0 && choices.length < 12 ? texts.oneOf(choices.map(({ value }) => value).join(", ")) : undefined,
  ].filter((note) => note !== undefined);
  if (description === undefined && notes.length === 0) return null;
  return { from, to, title: word, type: isKey ? typesOf(applied) : undefined, text: description, notes };
}
