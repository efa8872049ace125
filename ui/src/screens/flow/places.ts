/** Where the nodes of a flow stand in its text: the node at the cursor, and the place of a node. */
import { isMap, isScalar, isSeq, parseDocument } from "yaml";
import { graphOf, type DocumentGraph, type DocumentNode } from "../../graph/document";

interface Span {
  readonly from: number;
  readonly to: number;
}

export interface Reading {
  readonly graph: DocumentGraph;
  readonly value: unknown;
  readonly hasErrors: boolean;
  /** Where each node stands: from its name to the end of its value. */
  readonly spans: ReadonlyMap<string, Span>;
}

let last: { readonly text: string; readonly reading: Reading | null } | undefined;

/** Read a text; null if there is no map of nodes in it. The last one is kept: to read a long text takes a tenth of a second. */
export function readFlow(text: string): Reading | null {
  if (last?.text !== text) last = { text, reading: read(text) };
  return last.reading;
}

function read(text: string): Reading | null {
  const document = parseDocument(text, { logLevel: "silent", uniqueKeys: false });
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch {
    return null;
  }
  const graph = graphOf(value);
  if (graph === null) return null;
  const spans = new Map<string, Span>();
  for (const node of [...graph.nodes, ...graph.parts]) {
    const span = spanOf(document.contents, node);
    if (span !== undefined) spans.set(node.id, span);
  }
  return { graph, value, hasErrors: document.errors.length > 0, spans };
}

type Ranged = { range?: [number, number, number] } | null | undefined;

function spanOf(contents: unknown, node: DocumentNode): Span | undefined {
  let [name, value]: unknown[] = [undefined, contents];
  for (const key of node.keys) {
    if (isMap(value)) {
      const pair = value.items.find((each) => String(isScalar(each.key) ? each.key.value : each.key) === String(key));
      [name, value] = [pair?.key, pair?.value];
    } else if (isSeq(value)) name = value = value.items[Number(key)];
    else return undefined;
  }
  const from = (name as Ranged)?.range?.[0];
  const to = (value as Ranged)?.range?.[1];
  return from === undefined ? undefined : { from, to: Math.max(from, to ?? from) };
}

/** Return the innermost node around an offset. */
export function nodeAt(reading: Reading, offset: number): DocumentNode | undefined {
  let found: DocumentNode | undefined;
  let shortest = Infinity;
  for (const node of [...reading.graph.nodes, ...reading.graph.parts]) {
    const span = reading.spans.get(node.id);
    if (span === undefined || offset < span.from || offset > span.to || span.to - span.from >= shortest) continue;
    found = node;
    shortest = span.to - span.from;
  }
  return found;
}

/** Return the node that a fault's path is in: `nodes.each.nodes.push.params.url`. Names may hold dots. */
export function nodeOfPath(graph: DocumentGraph, path: string): DocumentNode | undefined {
  let found: DocumentNode | undefined;
  for (const node of [...graph.nodes, ...graph.parts]) {
    const at = node.keys.join(".");
    if ((path === at || path.startsWith(`${at}.`)) && node.keys.length > (found?.keys.length ?? 0)) found = node;
  }
  return found;
}
