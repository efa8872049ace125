/** Executions over time, by status, as stacked bars. */
import type { Schemas } from "../../api/client";
import { count, moment } from "../../parts/format";
import { toneOf } from "../../parts/parts";
import { statuses } from "../../texts/common";
import { overview as texts } from "../../texts/overview";

type Bucket = Schemas["BucketAnswer"];
const ORDER = ["completed", "cancelled", "running", "waiting", "failed"] as const;
const HEIGHT = 72;

export function Histogram({ buckets }: { buckets: Bucket[] | undefined }) {
  if (buckets === undefined) return <div class="histogram" />;
  const total = (bucket: Bucket) => ORDER.reduce((sum, status) => sum + bucket.counts[status], 0);
  const most = Math.max(1, ...buckets.map(total));
  const all = buckets.reduce((sum, bucket) => sum + total(bucket), 0);
  const failed = buckets.reduce((sum, bucket) => sum + bucket.counts.failed, 0);
  const moments = [0, 0.25, 0.5, 0.75].flatMap((share) => buckets[Math.floor(share * buckets.length)]?.since ?? []);
  const end = buckets[buckets.length - 1]?.until;
  return (
    <>
      <div class="histogram" data-most={count(most)} role="img" aria-label={texts.activityOf(all, failed)}>
        {buckets.map((bucket) => (
          <span key={bucket.since} title={titleOf(bucket)}>
            {ORDER.filter((status) => bucket.counts[status] > 0).map((status) => (
              <i key={status} class={`s-${toneOf(status)}`} style={{ height: `${Math.max(2, (HEIGHT * bucket.counts[status]) / most)}px` }} />
            ))}
          </span>
        ))}
      </div>
      {end !== undefined && (
        <div class="row small muted apart" aria-hidden="true">{[...moments, end].map((at, i) => <span key={at} class={i % 2 === 1 ? "wide-only" : undefined}>{clock(at)}</span>)}</div>
      )}
    </>
  );
}

/** A moment to the minute. */
function clock(at: string): string {
  return moment(at, Date.now()).replace(/(\d\d:\d\d):\d\d$/, "$1");
}

function titleOf({ since, until, counts }: Bucket): string {
  const parts = ORDER.filter((status) => counts[status] > 0).map((status) => `${counts[status]} ${statuses[status]}`);
  return texts.bucket(clock(since), clock(until), parts.join(", "));
}
