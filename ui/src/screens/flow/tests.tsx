/** The results of the document's own tests. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { Dialog } from "../../parts/dialog";
import { Failure, Status } from "../../parts/parts";
import { tests as texts } from "../../texts/tests";

type Result = Schemas["FlowTestsAnswer"];

export function TestsDialog({ definition, onClose }: { definition: string; onClose: () => void }) {
  const result = useQuery("tests", (signal) => api.post("/api/v1/flows/test", { body: { definition }, signal }));
  return (
    <Dialog title={texts.title} wide onClose={onClose}>
      <p class="muted small">{texts.hint}</p>
      {result.error !== undefined && <Failure error={result.error} retry={result.reload} />}
      {result.loading && <p role="status">{texts.running}</p>}
      {result.data !== undefined && <Results of={result.data} />}
    </Dialog>
  );
}

function Results({ of: { passed, failed, tests, coverage } }: { of: Result }) {
  if (tests.length === 0) return <p>{texts.none}</p>;
  return (
    <div class="stack" role="status">
      <p class="row">
        <span class="ok">{texts.passed(passed)}</span>
        {failed > 0 && <span class="bad">{texts.failed(failed)}</span>}
        <span class="muted small right">{texts.coverage(coverage.taken, coverage.edges)}</span>
      </p>
      <ul class="test-list">
        {tests.map((test) => (
          <li key={test.name} class="stack tight">
            <div class="row"><span class={`dot ${test.ok ? "ok" : "bad"}`} aria-hidden="true" /><b>{test.name}</b><span class="hidden">{test.ok ? texts.passed(1) : texts.failed(1)}</span><Status of={test.status} /></div>
            <p class="muted small mono">{test.path.join(" → ")}</p>
            {test.problems.map((problem) => <p key={problem} class="bad small">{problem}</p>)}
            {test.mismatches.map(({ what, expected, actual }) => (
              <div key={what} class="mismatch">
                <b class="small">{what}</b>
                <div><span class="muted small">{texts.expected}</span><pre>{JSON.stringify(expected, null, 2)}</pre></div>
                <div><span class="muted small">{texts.actual}</span><pre>{JSON.stringify(actual, null, 2)}</pre></div>
              </div>
            ))}
            {test.mismatches.length > 0 && <pre class="small">{test.explanation.join("\n")}</pre>}
          </li>
        ))}
      </ul>
      {coverage.never.length > 0 && (
        <details>
          <summary class="muted small">{texts.never}</summary>
          <ul class="small mono">{coverage.never.map((edge) => <li key={JSON.stringify(edge)}>{Object.values(edge).join(" · ")}</li>)}</ul>
        </details>
      )}
    </div>
  );
}
