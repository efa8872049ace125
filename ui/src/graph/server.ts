/** The picture of a graph for the server, which calls it as `flow.picture`. */
import { layoutGraph } from "./layout";
import type { Graph } from "./model";
import { svgOf } from "./svg";

export function picture(graph: Graph): string {
  return svgOf(layoutGraph(graph));
}
