import { expect, test } from "vitest";
import { inWords } from "./cron";

test.each([
  ["0 2 * * *", "At 02:00, every day"],
  ["0 6 * * 1", "At 06:00, only on Monday"],
  ["0 9-17 * * mon-fri", "Every hour, between 09:00 and 17:00, Monday through Friday"],
  ["0 0 LW * *", "At 00:00, on the last weekday of the month"],
  ["0 0 * * 5#3", "At 00:00, on the third Friday of the month"],
  ["0 0 * * 7", "At 00:00, only on Sunday"],
  ["*/15 * * * *", "Every 15 minutes, every hour, every day"],
  ["@Daily", "At 00:00, every day"],
  ["*/10 9-17 * * 1-5", "Every 10 minutes, between 09:00 and 17:50, Monday through Friday"],
  ["0 */5 1,L jan,feb *", "At 00:00, 05:00, 10:00, 15:00 and 20:00, on day 1 of the month and on the last day of the month, only in January and February"],
  ["30 4 1,15 * 5L", "At 04:30, on days 1 and 15 of the month or on the last Friday of the month"],
  ["23 0-20/2 * 6-8 5-7", "At 23 minutes past the hour, in the hours that begin at 00:00, 02:00, … 20:00, Friday through Sunday, June through August"],
  // Without a star, one of the two is enough.
  ["0 0 1 * 0-6", "At 00:00, every day"],
])("%s is %s", (expression, words) => {
  expect(inWords(expression)).toBe(words);
});

test.each(["", "@reboot", "constructor", "0 0 2 * * *", "0 24 * * *", "0 0 */2 * 1", "0 0 * * 1/2", "0 0 * *", "x".repeat(100_000)])("%s has no words", (expression) => {
  expect(inWords(expression)).toBeUndefined();
});
