/** Another name for a node: changed wherever the document names it. */
import { isMap as isYamlMap, isScalar, isSeq, parseDocument, visit, type Pair, type Scalar, type YAMLMap } from "yaml";
import { NAMING, type TextChange } from "./edits";
import { noticeOf } from "../graph/document";
import type { Keys } from "./place";

type Range = readonly [number, number];

/** Keys of a test whose keys, or items, name nodes. */
const TESTED = ["mocks", "approvals", "tries", "path"];

/**
 * Return the text with another name for a node: of its key, of the edges that lead to it, of expressions and tests.
 *
 * Null if the text has syntax errors, or if the name is taken.
 */
export function renameNode(text: string, node: Keys, name: string): string | null {
  const document = parseDocument(text, { logLevel: "silent", uniqueKeys: false });
  const holder = document.getIn(node.slice(0, -1), true);
  const old = String(node.at(-1));
  if (document.errors.length > 0 || !isYamlMap(holder)) return null;
  const key = scalarOf(pairOf(holder, old)?.key);
  if (key === undefined || name === "" || pairOf(holder, name) !== undefined) return null;
  const named = [key, ...namesOf(holder, old)];
  const owner = node.length === 2 ? document.contents : document.getIn(node.slice(0, -2), true);
  if (isYamlMap(owner)) for (const each of NAMING) named.push(...equalTo(pairOf(owner, each)?.value, old));
  const changes = named.map((scalar) => replaced(text, scalar, name));
  if (isYamlMap(document.contents)) changes.push(...inTests(text, pairOf(document.contents, "tests")?.value, node, name));
  const scope = node.length === 2 ? [0, text.length] as const : rangeOf(owner);
  changes.push(...inExpressions(text, scope, shadowed(holder, owner, old), old, name));
  const ordered = changes.sort((a, b) => b.from - a.from);
  return ordered.reduce((changed, { from, to, insert }) => changed.slice(0, from) + insert + changed.slice(to), text);
}

function pairOf(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find((pair) => String(isScalar(pair.key) ? pair.key.value : pair.key) === key);
}

function scalarOf(value: unknown): Scalar | undefined {
  return isScalar(value) && value.range ? value : undefined;
}

function equalTo(value: unknown, name: string): Scalar[] {
  const scalar = scalarOf(value);
  return scalar?.value === name ? [scalar] : [];
}

function rangeOf(value: unknown): Range {
  const [from = 0, to = 0] = (value as { range?: [number, number, number] | null } | undefined)?.range ?? [];
  return [from, to];
}

/** Return what names a node in the others of its scope: the targets of edges, and what approvals notify by. */
function namesOf(holder: YAMLMap, name: string): Scalar[] {
  return holder.items.flatMap(({ value }) => {
    if (!isYamlMap(value)) return [];
    const next = pairOf(value, "next")?.value;
    const named = isYamlMap(next) ? next.items.map((edge) => edge.value) : [next];
    if (noticeOf(value.toJSON()) === name) named.push(value.getIn(["params", "notify"], true));
    return named.flatMap((each) => equalTo(each, name));
  });
}

/** Return the change of a scalar, in its quotes. */
function replaced(text: string, scalar: Scalar, name: string): TextChange {
  const [from, to] = rangeOf(scalar);
  const isQuoted = /["']/.test(text[from] ?? "") || !/^[A-Za-z_][\w.-]*$/.test(name) || /^(true|false|null|yes|no|on|off)$/i.test(name);
  return { from, to, insert: isQuoted ? JSON.stringify(name) : name };
}

/** Return the changes of names, and of paths such as `push.send`, in tests. */
function inTests(text: string, tests: unknown, node: Keys, name: string): TextChange[] {
  const path = node.filter((_, i) => i % 2 === 1).map(String);
  const found: TextChange[] = [];
  const change = (value: unknown) => {
    const scalar = scalarOf(value);
    const parts = String(scalar?.value ?? "").split(".");
    const at = parts.length === 1 && parts[0] === path.at(-1) ? 0 : path.every((part, i) => parts[i] === part) ? path.length - 1 : undefined;
    if (scalar !== undefined && at !== undefined) found.push(replaced(text, scalar, parts.with(at, name).join(".")));
  };
  if (!isYamlMap(tests)) return found;
  visit(tests, {
    Pair(_, { key, value }) {
      const word = isScalar(key) ? String(key.value) : "";
      // The nodes of other flows.
      if (word === "flows") return visit.SKIP;
      if (!TESTED.includes(word)) return undefined;
      if (isYamlMap(value)) for (const each of value.items) change(each.key);
      if (isSeq(value)) value.items.forEach(change);
      return undefined;
    },
  });
  return found;
}

/** Return where inner scopes have a node of the same name: expressions there mean that one. */
function shadowed(holder: YAMLMap, owner: unknown, name: string): Range[] {
  const found: Range[] = [];
  if (!isYamlMap(owner)) return found;
  visit(owner, {
    Pair(_, { key, value }) {
      if (!isScalar(key) || key.value !== "nodes" || !isYamlMap(value) || value === holder || pairOf(value, name) === undefined) return undefined;
      found.push(rangeOf(value));
      return visit.SKIP;
    },
  });
  return found;
}

function inExpressions(text: string, [from, to]: Range, without: readonly Range[], old: string, name: string): TextChange[] {
  const escaped = old.replace(/[.*+?^${}()|[\]\\-]/g, "\\$&");
  const isPlain = /^[A-Za-z_$][\w$]*$/.test(name);
  const found: TextChange[] = [];
  for (const match of text.matchAll(new RegExp(`(?<![\\w$.])nodes(?:\\.${escaped}(?![\\w$])|\\[(\\\\?["'])${escaped}\\1\\])`, "g"))) {
    if (match.index < from || match.index >= to || without.some(([begin, end]) => match.index >= begin && match.index < end)) continue;
    const quote = match[1] ?? "'";
    found.push({ from: match.index, to: match.index + match[0].length, insert: isPlain ? `nodes.${name}` : `nodes[${quote}${name}${quote}]` });
  }
  return found;
}
