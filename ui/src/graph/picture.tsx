/** A small picture of a graph, without anything to press. */
import type { Layout } from "./layout";

export function Picture({ layout }: { layout: Layout }) {
  return (
    <svg class="graph-picture" viewBox={`-8 -8 ${layout.width + 16} ${layout.height + 16}`} aria-hidden="true">
      {layout.frames.map((frame) => <rect key={`${frame.owner} ${frame.title}`} class="picture-frame" x={frame.x} y={frame.y} width={frame.width} height={frame.height} rx="12" />)}
      {layout.links.map(({ link, path }) => <path key={`${link.source}\n${link.target}`} class={link.isError ? "error" : ""} d={path} />)}
      {layout.nodes.map(({ node, x, y, width, height }) => (
        <g key={node.id}>
          <rect class="picture-node" x={x} y={y} width={width} height={height} rx="10" />
          <text x={x + 16} y={y + 33}>{node.label.length > 17 ? `${node.label.slice(0, 16)}…` : node.label}</text>
        </g>
      ))}
    </svg>
  );
}
