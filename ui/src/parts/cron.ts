/** Cron expressions in words. Loaded where one is shown. */
import cronstrue from "cronstrue";

const MACROS: Record<string, string> = {
  "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
};

/**
 * Return an expression in words: "At 02:00, every day". Undefined for one that the server rejects, or that words would
 * describe wrongly.
 */
export function inWords(expression: string): string | undefined {
  const fields = (MACROS[expression.toLowerCase()] ?? expression).trim().split(/\s+/);
  const [, , day = "", , weekday = ""] = fields;
  // A step of days is an "and" for the server and an "or" in words, and its weeks do not begin where those of words do.
  const isStep = day.startsWith("*/") || weekday.startsWith("*/");
  if (fields.length !== 5 || (isStep && day !== "*" && weekday !== "*") || weekday.includes("/")) return undefined;
  try {
    return cronstrue.toString(fields.join(" "), { verbose: true, use24HourTimeFormat: true });
  } catch {
    return undefined;
  }
}
