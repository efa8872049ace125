/** How long executions took, as a distribution. */
import type { Schemas } from "../../api/client";
import { count, duration } from "../../parts/format";
import { overview as texts } from "../../texts/overview";

type Numbers = Schemas["HistogramAnswer"];
const HEIGHT = 72;

export function Durations({ numbers }: { numbers: Numbers | undefined }) {
  if (numbers === undefined) return <div class="histogram" />;
  const { distribution, durations } = numbers;
  const most = Math.max(1, ...distribution.map((bucket) => bucket.count));
  const [first, last] = [distribution[0], distribution[distribution.length - 1]];
  if (first === undefined || last === undefined || durations === undefined) return <p class="muted small">{texts.noDurations}</p>;
  return (
    <>
      <div class="histogram" data-most={count(most)} role="img" aria-label={texts.durationsOf(count(durations.sample), duration(durations.p50), duration(durations.p95))}>
        {distribution.map((bucket) => (
          <span key={bucket.at_least} title={texts.took(duration(bucket.at_least), duration(bucket.below), bucket.count)}>
            {bucket.count > 0 && <i class="s-run" style={{ height: `${Math.max(2, (HEIGHT * bucket.count) / most)}px`, width: "100%", maxWidth: "40px", alignSelf: "center" }} />}
          </span>
        ))}
      </div>
      <div class="row small muted apart" aria-hidden="true"><span>{duration(first.at_least)}</span><span>{duration(last.below)}</span></div>
      <p class="small muted">{texts.percentiles(duration(durations.p50), duration(durations.p95), count(durations.sample))}</p>
    </>
  );
}
