/** Executions over time, by status, as stacked bars. */
import type { Schemas } from "../../api/client";
import { to } from "../../app/router";
import { count, moment, present } from "../../parts/format";
import { toneOf } from "../../parts/parts";
import { statuses } from "../../texts/common";
import { overview as texts } from "../../texts/overview";

type Bucket = Schemas["BucketAnswer"];
const ORDER = ["completed", "cancelled", "running", "waiting", "failed"] as const;
const HEIGHT = 72;

/** Each bar leads to its executions; the arrow keys lead from bar to bar. Args: flow: The id of the only flow. */
export function Histogram({ buckets, flow }: { buckets: Bucket[] | undefined; flow?: string }) {
  if (buckets === undefined) return <div class="histogram" />;
  const total = (bucket: Bucket) => ORDER.reduce((sum, status) => sum + bucket.counts[status], 0);
  const most = Math.max(1, ...buckets.map(total));
  const sums = Object.fromEntries(ORDER.map((status) => [status, buckets.reduce((sum, { counts }) => sum + counts[status], 0)]));
  const all = ORDER.reduce((sum, status) => sum + sums[status]!, 0);
  const moments = [0, 0.25, 0.5, 0.75].flatMap((share) => buckets[Math.floor(share * buckets.length)]?.since ?? []);
  const [start, end] = [buckets[0]?.since, buckets[buckets.length - 1]?.until];
  const last = buckets.findLastIndex((bucket) => total(bucket) > 0);
  return (
    <>
      <div class="histogram" data-most={count(most)} role="group" aria-label={texts.activityOf(all, sums["failed"]!)} onKeyDown={walk}>
        {buckets.map((bucket, i) => total(bucket) === 0 ? <span key={bucket.since} title={titleOf(bucket)} /> : (
          <a key={bucket.since} href={to("/executions", { flow, since: bucket.since, until: bucket.until })} title={titleOf(bucket)} aria-label={titleOf(bucket)} tabIndex={i === last ? 0 : -1}>
            {ORDER.filter((status) => bucket.counts[status] > 0).map((status) => (
              <i key={status} class={`s-${toneOf(status)}`} style={{ height: `${Math.max(2, (HEIGHT * bucket.counts[status]) / most)}px` }} />
            ))}
          </a>
        ))}
      </div>
      {end !== undefined && (
        <div class="row small muted apart" aria-hidden="true">{[...moments, end].map((at, i) => <span key={at} class={i % 2 === 1 ? "spare" : undefined}>{clock(at)}</span>)}</div>
      )}
      <ul class="sums small" aria-label={texts.legend}>
        {ORDER.filter((status) => sums[status]! > 0).map((status) => (
          <li key={status}><a class="quiet-link" href={to("/executions", { flow, status, since: start })}><i class={`s-${toneOf(status)}`} />{statuses[status]} <b>{count(sums[status]!)}</b></a></li>
        ))}
      </ul>
    </>
  );
}

/** Move the focus to the bar before or after. */
function walk(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step === undefined) return;
  const bars = [...event.currentTarget.querySelectorAll("a")];
  bars[bars.indexOf(document.activeElement as HTMLAnchorElement) + step]?.focus();
  event.preventDefault();
}

/** A moment to the minute. */
function clock(at: string): string {
  return moment(at, present()).replace(/(\d\d:\d\d):\d\d$/, "$1");
}

function titleOf({ since, until, counts }: Bucket): string {
  const parts = ORDER.filter((status) => counts[status] > 0).map((status) => `${counts[status]} ${statuses[status]}`);
  return texts.bucket(clock(since), clock(until), parts.join(", "));
}
