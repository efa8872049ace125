import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { layoutGraph, type Layout } from "./layout";
import { EMPTY, type Graph, type GraphEdge, type GraphNode } from "./model";

// The same cases each time: a run in CI does not search for new ones.
fc.configureGlobal({ seed: 1 });

function node(id: string, parent: string | null = null, branch: string | null = null, isStart = false): GraphNode {
  return { id, label: id, type: "log", parent, branch, isStart };
}

function flow(names: string, ...edges: string[]): Graph {
  return {
    nodes: names.split(" ").map((id, index) => node(id, null, null, index === 0)),
    edges: edges.map((edge) => {
      const [source, target, action = "default"] = edge.split(" ");
      return { source: source!, target: target!, action };
    }),
  };
}

/** Graphs with branches, joins, loops, errors, and child scopes. */
const graphs: fc.Arbitrary<Graph> = fc
  .record({
    size: fc.integer({ min: 1, max: 40 }),
    pairs: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.constantFrom("default", "a", "b", "error", "error.http")), {
      maxLength: 80,
    }),
    owners: fc.array(fc.tuple(fc.nat(), fc.constantFrom(null, "left", "right")), { maxLength: 40 }),
  })
  .map(({ size, pairs, owners }) => {
    const nodes: GraphNode[] = [];
    for (let i = 0; i < size; i++) {
      const [owner, branch] = owners[i] ?? [0, null];
      const parent = i > 0 && owner % 3 === 0 ? (nodes[owner % i]?.id ?? null) : null;
      nodes.push(node(`n${i}`, parent, parent === null ? null : branch, i === 0));
    }
    const edges: GraphEdge[] = pairs.map(([a, b, action]) => ({
      source: `n${a % size}`,
      target: `n${b % size}`,
      action,
    }));
    return { nodes, edges };
  });

function overlaps(layout: Layout): string[] {
  const found: string[] = [];
  const byId = new Map(layout.nodes.map((placed) => [placed.node.id, placed]));
  expect(byId.size).toBe(layout.nodes.length);
  layout.nodes.forEach((a, i) => {
    for (const b of layout.nodes.slice(i + 1)) {
      if (a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height) {
        found.push(`${a.node.id} ${b.node.id}`);
      }
    }
  });
  return found;
}

interface Rectangle { x: number; y: number; width: number; height: number }

/** The places that the labels take, as wide as the layout reckons. */
function labelBoxes(layout: Layout): (Rectangle & { of: string; source: string })[] {
  return layout.links.flatMap(({ link, label }) => {
    if (label === null) return [];
    const width = label.text.length * 6.2;
    return [{ x: label.anchor === "start" ? label.x : label.x - width, y: label.y - 10, width, height: 13, of: label.text, source: link.source }];
  });
}

function meet(a: Rectangle, b: Rectangle): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Pairs of labels that lie over each other. */
function labelsThatMeet(layout: Layout): string[] {
  const boxes = labelBoxes(layout);
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => meet(a, b)).map((b) => `${a.of} ${b.of}`));
}

/** Return the pixels between a path and a box, by points of the path. */
function distance(path: string, { x: left, y: top, width, height }: Rectangle): number {
  let [least, x, y] = [Infinity, 0, 0];
  for (const piece of path.split(/(?=[MLCQ])/)) {
    const numbers = piece.slice(1).split(" ").map(Number);
    if (piece.startsWith("M")) [x, y] = numbers as [number, number];
    // Straight lines and quadratic curves, written as cubic ones.
    const [toX, toY] = numbers.slice(-2) as [number, number];
    const [ax, ay, bx, by] = (piece.startsWith("C") ? numbers : piece.startsWith("Q") ? [...numbers, ...numbers] : [x, y, toX, toY]) as [number, number, number, number];
    for (let t = 0; t <= 1; t += 0.02) {
      const [p, q, r, s] = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t ** 3] as const;
      const [atX, atY] = [p * x + q * ax + r * bx + s * toX, p * y + q * ay + r * by + s * toY];
      least = Math.min(least, Math.hypot(Math.max(left - atX, 0, atX - left - width), Math.max(top - atY, 0, atY - top - height)));
    }
    [x, y] = [toX, toY];
  }
  return least;
}

function at(layout: Layout, id: string) {
  return layout.nodes.find((placed) => placed.node.id === id)!;
}

function middle(layout: Layout, id: string): number {
  const { x, width } = at(layout, id);
  return x + width / 2;
}

describe("a picture of any graph", () => {
  test("has no two nodes that overlap", () => {
    fc.assert(fc.property(graphs, (graph) => {
        expect(overlaps(layoutGraph(graph))).toEqual([]);
      }),
    );
  });

  test("leads down along every edge but those that close a loop", () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const layout = layoutGraph(graph);
        for (const { link, isLoop } of layout.links) {
          const [source, target] = [at(layout, link.source), at(layout, link.target)];
          if (!isLoop) expect(target.rank).toBeGreaterThan(source.rank);
        }
      }),
    );
  });

  test("is the same each time", () => {
    fc.assert(fc.property(graphs, (graph) => {
        expect(layoutGraph(graph)).toEqual(layoutGraph(graph));
      }),
    );
  });

  test("keeps every node and line inside its bounds", () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const layout = layoutGraph(graph);
        for (const box of [...layout.nodes, ...layout.frames]) {
          expect(box.x).toBeGreaterThanOrEqual(-0.5);
          expect(box.y).toBeGreaterThanOrEqual(0);
          expect(box.x + box.width).toBeLessThanOrEqual(layout.width + 0.5);
          expect(box.y + box.height).toBeLessThanOrEqual(layout.height);
        }
      }),
    );
  });

  test("puts a frame around everything in a child scope", () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const layout = layoutGraph(graph);
        for (const inner of layout.nodes) {
          if (inner.node.parent === null) continue;
          const frame = layout.frames.find((each) => each.owner === inner.node.parent && each.title === null)!;
          expect(inner.x).toBeGreaterThanOrEqual(frame.x);
          expect(inner.x + inner.width).toBeLessThanOrEqual(frame.x + frame.width);
          expect(inner.y + inner.height).toBeLessThanOrEqual(frame.y + frame.height);
        }
      }),
    );
  });

  test("puts no label over a node, and each below the row of its source", () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const layout = layoutGraph(graph);
        const closed = layout.nodes.filter(({ node }) => !layout.frames.some(({ owner }) => owner === node.id));
        for (const label of labelBoxes(layout)) {
          for (const placed of closed) expect(meet(label, placed)).toBe(false);
          const source = at(layout, label.source);
          const siblings = layout.nodes.filter(({ rank, node }) => node.parent === source.node.parent && node.branch === source.node.branch && rank === source.rank + 1);
          expect(label.y).toBeGreaterThan(source.y + source.height);
          for (const below of siblings) expect(label.y + label.height).toBeLessThan(below.y);
          expect(label.x + label.width).toBeLessThanOrEqual(layout.width + 0.5);
        }
      }),
    );
  });

  test("shows one node for a collapsed loop and counts what it hides", () => {
    const graph = { nodes: [node("each", null, null, true), node("each/a", "each"), node("each/b", "each/a")], edges: [] };
    const layout = layoutGraph(graph, new Set(["each"]));
    expect(layout.nodes.map(({ node, hidden }) => [node.id, hidden])).toEqual([["each", 2]]);
    expect(layout.frames).toEqual([]);
  });

  test("has no crossings for a tree", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1, maxLength: 40 }), (parents) => {
        const names = ["n0", ...parents.map((_, i) => `n${i + 1}`)];
        const edges = parents.map((parent, i) => `n${parent % (i + 1)} n${i + 1} a${i}`);
        expect(crossedPairs(layoutGraph(flow(names.join(" "), ...edges)))).toBe(0);
      }),
    );
  });

  test("has no crossings where branches meet again", () => {
    const layout = layoutGraph(
      flow("a b c d e f g", "a b x", "a c y", "a d z", "b e", "c e", "d f", "e g", "f g"),
    );
    expect(crossedPairs(layout)).toBe(0);
  });
});

/** Count the pairs of links between the same two ranks that cross. */
function crossedPairs(layout: Layout): number {
  let count = 0;
  const ends = layout.links
    .map(({ link }) => [at(layout, link.source), at(layout, link.target)] as const)
    .filter(([source, target]) => target.rank === source.rank + 1);
  ends.forEach(([a, b], i) => {
    for (const [c, d] of ends.slice(i + 1)) if (a.rank === c.rank && (a.x - c.x) * (b.x - d.x) < 0) count++;
  });
  return count;
}

describe("a usual flow", () => {
  test("is one straight column if it is a chain", () => {
    const layout = layoutGraph(flow("a b c d", "a b", "b c", "c d"));
    expect(new Set(layout.nodes.map(({ x }) => x)).size).toBe(1);
    expect(layout.links.map(({ label }) => label)).toEqual([null, null, null]);
  });

  test("writes nothing at links that are all the same action", () => {
    const layout = layoutGraph(flow("ask orders parcel failed", "ask orders", "ask parcel", "ask failed error"));
    expect(layout.links.map(({ label }) => label?.text)).toEqual([undefined, undefined, "error"]);
  });

  test("is symmetric around its branches and their join", () => {
    const layout = layoutGraph(flow("a b c d e", "a b x", "a c y", "a d z", "b e", "c e", "d e"));
    expect(middle(layout, "c")).toBeCloseTo(middle(layout, "a"), 0);
    expect(middle(layout, "e")).toBeCloseTo(middle(layout, "a"), 0);
    expect(middle(layout, "a") - middle(layout, "b")).toBeCloseTo(middle(layout, "d") - middle(layout, "a"), 0);
  });

  test("stays a straight column beside a handler of all errors", () => {
    const steps = Array.from({ length: 12 }, (_, i) => `s${i}`);
    const edges = steps.flatMap((step, i) => (i < 11 ? [`${step} s${i + 1}`] : [])).concat(steps.map((step) => `${step} handler error`));
    const layout = layoutGraph(flow([...steps, "handler"].join(" "), ...edges));
    expect(new Set(steps.map((step) => middle(layout, step))).size).toBe(1);
    expect(layout.width).toBeLessThan(560);
  });

  test("leads errors to the right, also to a node that comes first in the document", () => {
    const layout = layoutGraph(flow("a rescue done", "a rescue error", "a done", "rescue done"));
    expect(middle(layout, "rescue")).toBeGreaterThan(middle(layout, "a"));
    expect(crossedPairs(layout)).toBe(0);
  });

  test("names each of the branches that leave a node, also where they meet again", () => {
    const actions = ["east", "west", "north", "south", "default", "an_action_with_a_long_name"];
    for (let count = 2; count <= actions.length; count++) {
      const own = actions.slice(0, count);
      const names = own.map((_, i) => `t${i}`);
      const layout = layoutGraph(flow(["a", ...names, "z"].join(" "), ...own.map((action, i) => `a t${i} ${action}`), ...names.map((name) => `${name} z`), ...names.map((name) => `${name} z error`)));
      expect(labelsThatMeet(layout)).toEqual([]);
      const labels = layout.links.filter(({ link }) => link.source === "a");
      expect(labels.map(({ label }) => label!.text.slice(0, 4)).sort()).toEqual(own.map((action) => action.slice(0, 4)).sort());
    }
  });

  test("tells apart the labels of two nodes that lead to the same one", () => {
    const layout = layoutGraph(flow("a b c d e f", "a b x", "a c y", "b d accepted", "b e declined", "c d accepted", "c f declined"));
    const labels = layout.links.filter(({ link, label }) => link.target === "d" && label !== null);
    for (const { link, label } of labels) {
      const to = (id: string) => Math.abs(label!.x - middle(layout, id));
      expect(to(link.source)).toBeLessThan(to(link.source === "b" ? "c" : "b"));
    }
    expect(labelsThatMeet(layout)).toEqual([]);
  });

  test("keeps the labels of two loops that leave a node apart", () => {
    const layout = layoutGraph(flow("a b c", "a b", "b c", "c a again", "c b retry"));
    expect(labelsThatMeet(layout)).toEqual([]);
    expect(labelBoxes(layout).map(({ of }) => of)).toEqual(["again", "retry"]);
  });

  test("puts no label on a line that leads along the gap", () => {
    const errors = ["fetch handle error", "check handle error", "push handle error.script", "verify handle error", "settle handle error"];
    const layout = layoutGraph(flow("fetch check ask push verify settle give_up handle done", "fetch check", "check ask", "check fetch again", "ask push approved", "ask check rejected", "ask fetch timeout", "push verify", "push give_up error", "verify push retry", "verify settle", "verify done skip_the_rest", "settle done", "handle done", ...errors));
    for (const { link, path } of layout.links) {
      const ends = path.split(/(?=[MLCQ])/).map((piece) => [piece[0], ...piece.slice(1).split(" ").slice(-2).map(Number)] as [string, number, number]);
      ends.slice(1).forEach(([kind, x, y], i) => {
        const [, fromX, fromY] = ends[i]!;
        if (kind !== "L" || y !== fromY) return;
        for (const box of labelBoxes(layout)) {
          const isOn = box.y < y && y < box.y + box.height && box.x < Math.max(x, fromX) && box.x + box.width > Math.min(x, fromX);
          expect(isOn && `${box.of} on ${link.source} ${link.target}`).toBe(false);
        }
      });
    }
  });

  test("stands each label nearest to its own line, also where lines from further up pass", () => {
    const flows = [
      flow("a b c d e f", "a e large", "a d rejected", "b f timeout", "b d large", "c e large", "c d large", "d e", "e f"),
      flow("a b c d e", "a d", "b c approved", "b d large", "c d timeout", "c e", "d e error.http"),
      flow("a b c d e f", "a c small_amount", "a b large", "b c error.http", "b d small_amount", "c d", "d e rejected", "e f rejected"),
    ];
    for (const layout of flows.map((graph) => layoutGraph(graph))) {
      layout.links.forEach(({ link, label }, own) => {
        if (label === null) return;
        const left = label.anchor === "start" ? label.x : label.x - label.text.length * 6.2;
        const away = layout.links.map(({ path }) => distance(path, { x: left, y: label.y - 9, width: label.text.length * 6.2, height: 10 }));
        const nearer = layout.links.filter((_, other) => away[other]! < away[own]! - 1);
        expect(nearer.map((other) => `${label.text} of ${link.source} ${link.target} is nearer to ${other.link.source} ${other.link.target}`)).toEqual([]);
      });
    }
  });

  test("leads a loop back at the left", () => {
    const layout = layoutGraph(flow("a b c", "a b", "b c", "b a again"));
    const loop = layout.links.find(({ isLoop }) => isLoop)!;
    expect([loop.link.source, loop.link.target, loop.label?.text]).toEqual(["b", "a", "again"]);
  });

  test("does not drift to one side over a hundred ranks of ladders", () => {
    const edges: string[] = [];
    for (let i = 0; i < 120; i++) edges.push(`a${i} a${i + 1}`, `a${i} b${i} x`, `b${i} a${i + 1} y`);
    const names = Array.from({ length: 121 }, (_, i) => (i < 120 ? `a${i} b${i}` : "a120"));
    expect(layoutGraph(flow(names.join(" "), ...edges)).width).toBeLessThan(1000);
  });
});

test("an empty graph is an empty picture", () => {
  expect(layoutGraph(EMPTY)).toEqual({ width: 0, height: 0, nodes: [], frames: [], links: [] });
});
