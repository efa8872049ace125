/** The choice of a period: two moments in the reader's zone, kept as RFC 3339 in UTC. */
import { common } from "../texts/common";

interface Props {
  since: string | undefined;
  until: string | undefined;
  onChange: (bound: "since" | "until", moment: string | undefined) => void;
}

/** Return a moment as `2026-11-28T14:05` in the reader's zone; empty for none. */
export function localMinute(moment: string | undefined): string {
  const at = Date.parse(moment ?? "");
  if (Number.isNaN(at)) return "";
  return new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function Period({ since, until, onChange }: Props) {
  const bounds = [["since", since], ["until", until]] as const;
  return (
    <>
      {bounds.map(([bound, moment]) => (
        <label key={bound} class="row tight muted small">
          {common[bound]}
          <input class="bound" type="datetime-local" value={localMinute(moment)} onChange={({ currentTarget: { value } }) => onChange(bound, value === "" ? undefined : new Date(value).toISOString())} />
        </label>
      ))}
    </>
  );
}
