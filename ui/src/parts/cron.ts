/** Cron expressions in words. Loaded where one is shown. */

const MACROS = new Map([
  ["@yearly", "0 0 1 1 *"], ["@annually", "0 0 1 1 *"], ["@monthly", "0 0 1 * *"], ["@weekly", "0 0 * * 0"], ["@daily", "0 0 * * *"],
  ["@midnight", "0 0 * * *"], ["@hourly", "0 * * * *"],
]);
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ORDINALS = ["first", "second", "third", "fourth", "fifth"];
/** Times of a day, and members of a list with equal distances, that are written out. */
const MOST_LISTED = 6;

/**
 * Return an expression in words: "At 02:00, every day". Undefined for one that the server rejects, or whose days are easily
 * misread.
 */
export function inWords(expression: string): string | undefined {
  const fields = (MACROS.get(expression.toLowerCase()) ?? expression).trim().toUpperCase().split(/\s+/, 6);
  const [minute = "", hour = "", day = "", month = "", weekday = ""] = fields;
  // A step of days beside weekdays is an "and", and weeks begin on Sunday.
  if (fields.length !== 5 || (day.startsWith("*/") && weekday !== "*") || weekday.includes("/")) return undefined;
  try {
    const months = valuesOf(month, 1, 12, MONTHS);
    const when = [timeOf(valuesOf(minute, 0, 59), valuesOf(hour, 0, 23)), daysOf(day, weekday)];
    if (months.length < 12) when.push(isRange(months) ? through(months, monthName) : `only in ${listed(months, monthName)}`);
    return when.join(", ");
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Return the values of a field in their order. Raises: RangeError: The server rejects it. */
function valuesOf(field: string, least: number, most: number, names: readonly string[] = []): number[] {
  const valueOf = (text: string) => {
    const named = names.findIndex((name) => name.slice(0, 3).toUpperCase() === text);
    const value = named < 0 ? (/^\d+$/.test(text) ? Number(text) : -1) : named + (names === MONTHS ? 1 : 0);
    if (value < least || value > most) throw new RangeError(text);
    return value;
  };
  const found = field.split(",").flatMap((term) => {
    const [, from = "", to, step = "1"] = /^([^-/]+)(?:-([^/]+))?(?:\/([1-9]\d*))?$/.exec(term) ?? [];
    const first = from === "*" && to === undefined ? least : valueOf(from);
    const last = to !== undefined ? valueOf(to) : from === "*" || term.includes("/") ? most : first;
    if (last < first) throw new RangeError(term);
    return Array.from({ length: Math.floor((last - first) / Number(step)) + 1 }, (_, i) => first + i * Number(step));
  });
  return [...new Set(found)].sort((a, b) => a - b);
}

function timeOf(minutes: readonly number[], hours: readonly number[]): string {
  const [first, last] = [minutes[0]!, minutes.at(-1)!];
  const isWhole = minutes.length === 1 && first === 0;
  const everyHours = everyOf(hours, 24);
  const isEachHour = hours.length > 2 && isRange(hours);
  if (everyHours === undefined && !isEachHour && minutes.length * hours.length <= MOST_LISTED) {
    return `At ${listed(hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute)), (at) => clock(Math.floor(at / 60), at % 60))}`;
  }
  const within = everyHours !== undefined ? `every ${many(everyHours, "hour")}`
    : isEachHour ? `between ${clock(hours[0]!, first)} and ${clock(hours.at(-1)!, last)}`
    : `in the hours that begin at ${listed(hours, (hour) => clock(hour, 0))}`;
  if (isWhole && everyHours !== undefined) return `Every ${many(everyHours, "hour")}`;
  const everyMinutes = everyOf(minutes, 60);
  const often = isWhole && isEachHour ? "Every hour"
    : everyMinutes !== undefined ? `Every ${many(everyMinutes, "minute")}`
    : isRange(minutes) ? `Every minute from ${first} to ${last} past the hour`
    : `At ${listed(minutes, String)} ${minutes.length === 1 && first === 1 ? "minute" : "minutes"} past the hour`;
  return `${often}, ${within}`;
}

function daysOf(day: string, weekday: string): string {
  const [days, weekdays] = [monthDaysOf(day), weekdaysOf(weekday)];
  // With a star in one of them both must fit, otherwise one of them.
  const isEither = !day.startsWith("*") && !weekday.startsWith("*");
  if (days === "" || weekdays === "") return (isEither ? "" : days || weekdays) || "every day";
  return `${days} or ${weekdays.replace(/^only /, "")}`;
}

/** Return the days of the month, in words; nothing for all of them. */
function monthDaysOf(field: string): string {
  const [named, rest] = parted(field, { L: "on the last day of the month", LW: "on the last weekday of the month" });
  const values = rest === "" ? [] : valuesOf(rest, 1, 31);
  if (values.length === 31) return "";
  if (values.length > 0) named.unshift(`on ${values.length === 1 ? "day" : "days"} ${isRange(values) ? through(values, String) : listed(values, String)} of the month`);
  return named.join(" and ");
}

/** Return the days of the week, in words; nothing for all of them. */
function weekdaysOf(field: string): string {
  const name = (text: string) => WEEKDAYS[valuesOf(text, 0, 7, WEEKDAYS)[0]! % 7]!;
  const special: Record<string, string> = {};
  for (const term of field.split(",")) {
    const [, which = "", number] = /^(\w+)#([1-5])$/.exec(term) ?? [];
    if (number !== undefined) special[term] = `on the ${ORDINALS[Number(number) - 1]} ${name(which)} of the month`;
    if (/^\dL$/.test(term)) special[term] = `on the last ${name(term[0]!)} of the month`;
  }
  const [named, rest] = parted(field, special);
  // Weeks begin on Monday here.
  const values = rest === "" ? [] : [...new Set(valuesOf(rest, 0, 7, WEEKDAYS).map((value) => (value + 6) % 7))].sort();
  if (values.length === 7) return "";
  const weekdayName = (value: number) => WEEKDAYS[(value + 1) % 7]!;
  if (values.length > 0) named.unshift(isRange(values) ? through(values, weekdayName) : `only on ${listed(values, weekdayName)}`);
  return named.join(" and ");
}

/** Return the words of the terms that have some, and the other terms. */
function parted(field: string, words: Readonly<Record<string, string>>): [string[], string] {
  const terms = field.split(",");
  return [terms.flatMap((term) => words[term] ?? []), terms.filter((term) => !(term in words)).join()];
}

/** Return the distance of values that fill a whole evenly; undefined for others. */
function everyOf(values: readonly number[], whole: number): number | undefined {
  const step = whole / values.length;
  return values.length > 1 && values.every((value, i) => value === i * step) ? step : undefined;
}

function isRange(values: readonly number[]): boolean {
  return values.length > 2 && values.at(-1)! - values[0]! === values.length - 1;
}

function through(values: readonly number[], name: (value: number) => string): string {
  return `${name(values[0]!)} through ${name(values.at(-1)!)}`;
}

function listed(values: readonly number[], name: (value: number) => string): string {
  const [first = 0, second = 0] = values;
  const isEven = values.every((value, i) => value === first + i * (second - first));
  if (values.length > MOST_LISTED && isEven) return `${name(first)}, ${name(second)}, … ${name(values.at(-1)!)}`;
  const names = values.map(name);
  const last = names.pop()!;
  return names.length === 0 ? last : `${names.join(", ")} and ${last}`;
}

function monthName(month: number): string {
  return MONTHS[month - 1]!;
}

function many(count: number, unit: string): string {
  return count === 1 ? unit : `${count} ${unit}s`;
}

function clock(hour: number, minute: number): string {
  return [hour, minute].map((part) => String(part).padStart(2, "0")).join(":");
}
