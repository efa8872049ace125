/** Numbers, sizes, durations and times as people read them. */
import { signal } from "@preact/signals";

/** By how many milliseconds the clock of the server is ahead of that of the browser. */
let ahead = 0;
/** Smaller differences are what an answer takes. */
const LEAST = 3000;

/** Take over the clock of the server, whose times are shown. Args: date: The header of an answer. at: When that came. */
export function setClock(date: string | null, at = Date.now()): void {
  const difference = Date.parse(date ?? "") - at;
  if (Math.abs(difference - ahead) > LEAST) ahead = difference;
}

/** Return the time by the clock of the server. */
export function present(): number {
  return Date.now() + ahead;
}

/** The time, in steps of ten seconds, so that relative times stay right. */
export const now = signal(Date.now());
if (typeof window !== "undefined") setInterval(tick, 10_000);

/** Take the present time, such as when an answer has come: what it says has happened is not in the future. */
export function tick(): void {
  now.value = present();
}

export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const units: [string, number][] = [["d", 86_400], ["h", 3600], ["m", 60], ["s", 1]];
  const parts: string[] = [];
  let rest = whole;
  for (const [unit, length] of units) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** Return a number of bytes in the units of the limits and of the command line. */
export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = "B";
  for (const next of units) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function count(number: number): string {
  return number.toLocaleString("en");
}

/** Return a number of things: "1 entry", "2 entries". */
export function counted(number: number, thing: string): string {
  return `${count(number)} ${number === 1 ? thing : `${thing.replace(/y$/, "ie")}s`}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clockMinutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat("en-GB", { weekday: "short" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

function daysBetween(from: Date, to: Date): number {
  const midnight = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(to) - midnight(from)) / 86_400_000);
}

/** A moment, shorter the nearer it is: "14:02:11", "yesterday 18:04", "Mon 06:00", "3 Feb 06:00", "3 Feb 2025". */
export function moment(at: string, present: number): string {
  const date = new Date(at);
  const days = daysBetween(date, new Date(present));
  if (days === 0) return clock.format(date);
  const time = clockMinutes.format(date);
  if (days === 1) return `yesterday ${time}`;
  if (days === -1) return `tomorrow ${time}`;
  if (Math.abs(days) < 7) return `${weekday.format(date)} ${time}`;
  if (Math.abs(days) < 300) return `${day.format(date)} ${time}`;
  return dayOfYear.format(date);
}

/** "in 4 m", "41 m ago". */
export function relative(at: string, present: number): string {
  const difference = new Date(at).getTime() - present;
  if (Math.abs(difference) < 5000) return "now";
  const text = duration(Math.round(Math.abs(difference) / 1000) * 1000).replace(".0", "").split(" ").slice(0, 2).join(" ");
  return difference > 0 ? `in ${text}` : `${text} ago`;
}

/** The whole moment, with the reader's zone and in UTC. */
export function exact(at: string): string {
  const date = new Date(at);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const local = date.toLocaleString("en-GB", { dateStyle: "full", timeStyle: "medium" });
  return `${local}.${String(date.getMilliseconds()).padStart(3, "0")} (${zone})\n${date.toISOString()}`;
}

export function clockOf(at: string): string {
  const date = new Date(at);
  return `${clock.format(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Shorten an id of ours in its middle; names stay as they are. */
export function shortId(id: string): string {
  const found = /^([a-z]+[-:])([0-9a-z]{12,})$/.exec(id);
  return found === null ? id : `${found[1]}${found[2]!.slice(0, 4)}…${found[2]!.slice(-3)}`;
}
