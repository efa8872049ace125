/** Places in documents that errors name, and the nodes of the graph that they are in. */
import { pathOf } from "./names";

/** Return the path in the graph of the node that a place is in: `both[left]/push` for `nodes.both.branches.left.nodes.push.output`; undefined if it is in none. */
function nodeOfPlace(path: string): string | undefined {
  const [node] = /^nodes\.[^.]+(\.(nodes|branches)\.[^.]+)*(?=\.)/.exec(path) ?? [];
  return node?.replace(/\.branches\.([^.]+)/g, "[$1]").replace(/\.nodes\./g, "/").slice("nodes.".length);
}

/** Return false if a place is in another document than that of the step whose error names it: in that of a sub-flow. */
export function isOwnPlace(path: string, step: string): boolean {
  const [node, own] = [nodeOfPlace(path), pathOf(step)];
  return node === undefined || node === own || node.startsWith(`${own}/`) || node.startsWith(`${own}[`);
}
