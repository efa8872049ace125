/** Executions over time and how long they took, of the workspace or of one flow, side by side. */
import type { Schemas } from "../../api/client";
import { overview as texts } from "../../texts/overview";
import { Durations } from "./durations";
import { Histogram } from "./histogram";

/** Args: flow: The id of the flow; undefined for all. */
export function Charts({ numbers, flow }: { numbers: Schemas["HistogramAnswer"] | undefined; flow?: string }) {
  return (
    <div class="charts">
      <section class="card padded stack tight">
        <div class="row"><h2>{texts.activity}</h2><span class="muted small">{texts.counted}</span></div>
        <Histogram buckets={numbers?.buckets} flow={flow} />
      </section>
      <section class="card padded stack tight">
        <h2>{texts.durations}</h2>
        <Durations numbers={numbers} />
      </section>
    </div>
  );
}
