/** When a schedule starts its flow, in words. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Schemas } from "../api/client";
import { triggers as texts } from "../texts/triggers";
import { duration, moment, now } from "./format";

/** What puts cron expressions into words, once it is loaded: no screen waits for it. */
const words = signal<((expression: string) => string | undefined) | undefined>(undefined);
let isAsked = false;

function load(): void {
  if (isAsked) return;
  isAsked = true;
  import("./cron").then(({ inWords }) => (words.value = inWords), () => (isAsked = false));
}

export function ScheduleWords({ schedule, look }: { schedule: Schemas["ScheduleAnswer"] | null; look?: string }) {
  const cron = schedule?.cron ?? null;
  useEffect(() => {
    if (cron !== null) load();
  }, [cron]);
  if (schedule === null) return null;
  const { every_seconds: seconds, at, timezone } = schedule;
  const text =
    cron !== null ? texts.inZone(words.value?.(cron) ?? cron, timezone)
    : seconds !== null ? texts.every(duration(seconds * 1000))
    : `${texts.once} ${moment(at!, now.value)}`;
  return <span class={look} title={cron ?? at ?? undefined}>{text}</span>;
}
