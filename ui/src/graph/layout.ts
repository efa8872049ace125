/** A picture of a graph: boxes, frames around child scopes, and lines. The same graph gives the same picture. */

import { linksOf, type Graph, type GraphNode, type Link } from "./model";
import { pathOf, type Box, type LabelPlace } from "./routes";
import { layoutScope, type ScopeLayout } from "./scope";

export const NODE_WIDTH = 208;
export const NODE_HEIGHT = 52;
const FRAME_PADDING = 20;
const FRAME_TOP = 26;
const TITLE_HEIGHT = 22;
const BRANCH_GAP = 20;
const LABEL_LETTERS = 22;
const LETTER_WIDTH = 6.2;

export interface PlacedNode extends Box {
  readonly node: GraphNode;
  readonly rank: number;
  readonly depth: number;
  /** Nodes in its child scopes that are not shown. */
  readonly hidden: number;
}

/** The frame around the child scopes of a node, or around one branch. */
export interface Frame extends Box {
  readonly owner: string;
  readonly title: string | null;
  readonly depth: number;
}

export interface PlacedLink {
  readonly link: Link;
  readonly path: string;
  readonly label: (LabelPlace & { readonly text: string }) | null;
  readonly isLoop: boolean;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly nodes: readonly PlacedNode[];
  readonly frames: readonly Frame[];
  readonly links: readonly PlacedLink[];
}

/** Lay out a graph. Args: collapsed: Nodes whose child scopes are not shown. */
export function layoutGraph(graph: Graph, collapsed: ReadonlySet<string> = new Set()): Layout {
  return new Picture(graph, collapsed).draw();
}

interface Laid {
  readonly width: number;
  readonly height: number;
  put(x: number, y: number): void;
}

class Picture {
  private readonly children = new Map<string | null, Map<string | null, GraphNode[]>>();
  private readonly links = new Map<string, Link[]>();
  private readonly nodes: PlacedNode[] = [];
  private readonly frames: Frame[] = [];
  private readonly lines: PlacedLink[] = [];

  constructor(
    graph: Graph,
    private readonly collapsed: ReadonlySet<string>,
  ) {
    for (const node of graph.nodes) {
      const branches = getOrAdd(this.children, node.parent, () => new Map<string | null, GraphNode[]>());
      getOrAdd(branches, node.branch, () => []).push(node);
    }
    for (const link of linksOf(graph)) getOrAdd(this.links, link.source, () => []).push(link);
  }

  draw(): Layout {
    const flow = this.scope(this.children.get(null)?.get(null) ?? [], 0);
    flow.put(0, 0);
    const { nodes, frames, lines: links } = this;
    return { width: flow.width, height: flow.height, nodes, frames, links };
  }

  private scope(nodes: readonly GraphNode[], depth: number): Laid {
    const index = new Map(nodes.map((node, number) => [node.id, number]));
    const drawn = nodes.flatMap((node) => this.links.get(node.id) ?? []).filter((link) => index.has(link.target));
    const labels = drawn.map((link) => labelOf(link, this.links.get(link.source)!));
    const boxes = nodes.map((node) => this.box(node, depth));
    const start = Math.max(0, nodes.findIndex((node) => node.isStart));
    const layout = layoutScope(
      boxes,
      drawn.map((link, number) => ({
        source: index.get(link.source)!,
        target: index.get(link.target)!,
        isError: link.isError,
        labelWidth: (labels[number]?.length ?? 0) * LETTER_WIDTH,
        isPlainError: labels[number] === "error",
      })),
      start,
    );
    const put = (x: number, y: number) => {
      nodes.forEach((_, number) => {
        const { x: left, y: top } = layout.boxes[number]!;
        boxes[number]!.put(x + left, y + top, layout.ranks[number]!);
      });
      this.putLinks(drawn, labels, layout, x, y);
    };
    return { width: layout.width, height: layout.height, put };
  }

  private putLinks(links: readonly Link[], labels: readonly (string | null)[], layout: ScopeLayout, x: number, y: number) {
    links.forEach((link, number) => {
      const { segments, isLoop } = layout.routes[number]!;
      // Without a place, a dashed line into a handler of errors says enough.
      const label = layout.labels[number];
      const text = labels[number];
      this.lines.push({
        link,
        path: pathOf(segments, x, y),
        label: !label || !text ? null : { ...label, x: label.x + x, y: label.y + y, text },
        isLoop,
      });
    });
  }

  /** Return a node with the frame of its child scopes below it. */
  private box(node: GraphNode, depth: number): { width: number; height: number; put(x: number, y: number, rank: number): void } {
    const branches = this.children.get(node.id);
    const isOpen = branches !== undefined && !this.collapsed.has(node.id);
    const place = (box: Box, rank: number) => {
      const hidden = isOpen || branches === undefined ? 0 : this.countInside(node.id);
      this.nodes.push({ ...box, node, rank, depth, hidden });
    };
    if (!isOpen) {
      const size = { width: NODE_WIDTH, height: NODE_HEIGHT };
      return { ...size, put: (x, y, rank) => place({ x, y, ...size }, rank) };
    }
    const parts = [...branches].map(([title, inner]) => ({ title, inside: this.scope(inner, depth + 1) }));
    const titled = parts.some(({ title }) => title !== null);
    const widths = parts.map(({ title, inside }) =>
      Math.max(inside.width + (titled ? 2 * FRAME_PADDING : 0), (title?.length ?? 0) * LETTER_WIDTH + 24),
    );
    const inner = widths.reduce((sum, width) => sum + width, (parts.length - 1) * BRANCH_GAP);
    const width = Math.max(NODE_WIDTH, inner) + 2 * FRAME_PADDING;
    const tallest = Math.max(...parts.map(({ inside }) => inside.height));
    const head = titled ? TITLE_HEIGHT : 0;
    const foot = titled ? FRAME_PADDING : 0;
    const height = NODE_HEIGHT + FRAME_PADDING + head + tallest + foot + FRAME_PADDING;
    const put = (x: number, y: number, rank: number) => {
      this.frames.push({ x, y: y + FRAME_TOP, width, height: height - FRAME_TOP, owner: node.id, title: null, depth });
      place({ x: x + (width - NODE_WIDTH) / 2, y, width: NODE_WIDTH, height: NODE_HEIGHT }, rank);
      let left = x + (width - inner) / 2;
      const top = y + NODE_HEIGHT + FRAME_PADDING;
      parts.forEach(({ title, inside }, number) => {
        const own = widths[number]!;
        if (titled) {
          const frame = { x: left, y: top, width: own, height: head + tallest + foot };
          this.frames.push({ ...frame, owner: node.id, title, depth: depth + 1 });
        }
        inside.put(left + (own - inside.width) / 2, top + head);
        left += own + BRANCH_GAP;
      });
    };
    return { width, height, put };
  }

  private countInside(id: string): number {
    let count = 0;
    for (const nodes of this.children.get(id)?.values() ?? []) {
      for (const node of nodes) count += 1 + this.countInside(node.id);
    }
    return count;
  }
}

/** Return what is written at a link: nothing if all ways on are the same action. */
function labelOf(link: Link, beside: readonly Link[]): string | null {
  const isPlain = ({ actions }: Link) => actions.join() === "default";
  if (isPlain(link) && beside.every((other) => other.isError || isPlain(other))) return null;
  const text = link.actions.join(", ");
  return text.length > LABEL_LETTERS ? `${text.slice(0, LABEL_LETTERS - 1)}…` : text;
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
