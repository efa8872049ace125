/** Labels as people write them: a line for each, as `team:core`. */

export type Labels = Readonly<Record<string, string>>;

const NAME = /^[A-Za-z0-9][\w./-]*$/;

/** Return the labels of a text, or the line that is none. */
export function readLabels(text: string): { labels: Labels } | { fault: string } {
  const labels: Record<string, string> = {};
  for (const line of text.split("\n").map((each) => each.trim()).filter(Boolean)) {
    const [name, value] = parted(line, ":");
    if (!NAME.test(name) || value === "") return { fault: line };
    labels[name] = value;
  }
  return { labels };
}

/** Return the parameter of the address for a filter: `team:core` is a label, and `order_id=42` an input. */
export function readTerm(text: string): [string, string] | undefined {
  const colon = text.indexOf(":");
  const equals = text.indexOf("=");
  const isInput = equals > 0 && (colon < 0 || equals < colon);
  const [name, value] = parted(text.trim(), isInput ? "=" : ":");
  if (value === "" || (!isInput && !NAME.test(name))) return undefined;
  return [`${isInput ? "input" : "label"}.${name.replace(/^input\./, "")}`, value];
}

/** Return the labels and inputs that an address filters by, with the name of their parameter. */
export function termsOf(query: URLSearchParams): { key: string; kind: string; name: string; value: string }[] {
  return [...query].flatMap(([key, value]) => {
    const [kind, name] = parted(key, ".");
    return kind === "label" || kind === "input" ? [{ key, kind, name, value }] : [];
  });
}

function parted(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at).trim(), text.slice(at + 1).trim()];
}
