/** What the schema says about the key or the value at a place. */
import { editor as texts } from "../texts/editor";
import type { Hover } from "./code";
import { read } from "./complete";
import { placeAt } from "./place";
import { choicesOf, describe, typesOf, type FlowSchema } from "./schema";

/** Describe a place as `hoverAt` does, and a cron expression in words, which are loaded when the first one is looked at. */
export async function hoverOrWordsAt(text: string, offset: number, schema: FlowSchema): Promise<Hover | null> {
  const cron = cronAt(text, offset);
  if (cron === null) return hoverAt(text, offset, schema);
  const { inWords } = await import("../parts/cron");
  const words = inWords(cron.expression);
  const zone = cron.zone ?? "UTC";
  return words === undefined ? null : { from: cron.from, to: cron.to, title: cron.expression, type: undefined, text: words, notes: [texts.timesIn(zone)] };
}

/** The value of the key `cron` of a trigger at a place, and the zone that the trigger names. */
export function cronAt(text: string, offset: number): { from: number; to: number; expression: string; zone: string | undefined } | null {
  const place = placeAt(text, offset);
  if (place === null || place.kind !== "value" || place.path.length !== 3 || place.path[0] !== "triggers" || place.path[2] !== "cron") return null;
  const after = text.slice(place.from, place.from + 200);
  const end = place.quote !== "" ? after.indexOf(place.quote) : after.search(place.isFlow ? /\n| #|[,{}]/ : /\n| #/);
  const rest = (end < 0 ? after : after.slice(0, end)).trimEnd();
  if (rest === "" || offset > place.from + rest.length) return null;
  const document = read(text) as { triggers?: Record<string, { timezone?: unknown } | null> } | null | undefined;
  const zone = document?.triggers?.[String(place.path[1])]?.timezone;
  return { from: place.from, to: place.from + rest.length, expression: rest, zone: typeof zone === "string" ? zone : undefined };
}

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
