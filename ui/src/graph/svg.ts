/** A layout as an SVG file that needs nothing else: for documents and slides. */
import type { Layout } from "./layout";

const MARGIN = 16;
const COLOURS = { line: "#8f8f99", frame: "#cfcfd6", node: "#ffffff", border: "#cfcfd6", text: "#18181b", muted: "#5f5f6b", bar: "#4f46e5" };
const FONT = "Inter, system-ui, sans-serif";

export function svgOf(layout: Layout): string {
  const [width, height] = [layout.width + 2 * MARGIN, layout.height + 2 * MARGIN];
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="${-MARGIN} ${-MARGIN} ${width} ${height}" font-family="${FONT}">`,
    `<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0.5 0.5L7.5 4L0.5 7.5z" fill="${COLOURS.line}"/></marker></defs>`,
    `<rect x="${-MARGIN}" y="${-MARGIN}" width="${width}" height="${height}" fill="#ffffff"/>`,
  ];
  // Attributes that all have in common are written once: a file of 1,000 nodes is a third smaller.
  const group = (attributes: string, inside: readonly string[]) => {
    if (inside.length > 0) parts.push(`<g ${attributes}>`, ...inside, "</g>");
  };
  const { frames, links, nodes } = layout;
  group(`fill="none" stroke="${COLOURS.frame}" stroke-dasharray="3 3"`, frames.map(({ x, y, width: w, height: h }) => `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="10"/>`));
  group(`fill="none" stroke="${COLOURS.line}" stroke-width="1.5" marker-end="url(#arrow)"`, links.map(({ link, path }) => `<path d="${path}"${link.isError ? ' stroke-dasharray="4 4"' : ""}/>`));
  group(`fill="${COLOURS.muted}" font-size="11.5"`, [
    ...frames.flatMap(({ x, y, title }) => (title === null ? [] : [`<text x="${x + 10}" y="${y + 15}">${escaped(title)}</text>`])),
    ...links.flatMap(({ label }) => (label === null ? [] : [`<text x="${label.x}" y="${label.y}" text-anchor="${label.anchor}">${escaped(label.text)}</text>`])),
  ]);
  group(`fill="${COLOURS.node}" stroke="${COLOURS.border}"`, nodes.map(({ x, y, width: w, height: h }) => `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="8"/>`));
  group(`fill="${COLOURS.bar}"`, nodes.map(({ x, y, height: h }) => `<rect x="${x}" y="${y + 8}" width="3" height="${h - 16}"/>`));
  group(`fill="${COLOURS.muted}" font-size="12"`, nodes.map(({ node, x, y }) => `<text x="${x + 15}" y="${y + 22}" fill="${COLOURS.text}" font-size="14" font-weight="600">${escaped(cut(node.label, 20))}</text><text x="${x + 15}" y="${y + 40}">${escaped(cut(node.type, 28))}</text>`));
  parts.push("</svg>\n");
  return parts.join("\n");
}

/** Pixels in one direction, and in all, that browsers draw. */
const MOST_PIXELS = { side: 16_000, all: 120_000_000 };

/** Return a layout as a PNG file, twice as large as on the screen where that can be drawn. */
export async function pngOf(layout: Layout): Promise<Blob> {
  const [width, height] = [layout.width + 2 * MARGIN, layout.height + 2 * MARGIN];
  const scale = Math.min(2, MOST_PIXELS.side / Math.max(width, height), Math.sqrt(MOST_PIXELS.all / (width * height)));
  const image = new Image(width, height);
  // The policy allows pictures from `data:`, not from `blob:`.
  image.src = `data:image/svg+xml,${encodeURIComponent(svgOf(layout))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(width * scale), Math.ceil(height * scale)];
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return await new Promise((resolve, reject) => canvas.toBlob((png) => (png === null ? reject(new Error("the picture is too large")) : resolve(png)), "image/png"));
}

/** Return as much of a text as has room for so many letters of Latin; those of many other scripts are twice as wide. */
function cut(text: string, letters: number): string {
  let [width, shown, whole] = [0, "", ""];
  for (const letter of text) {
    width += letter < "\u1100" ? 1 : 2;
    whole += letter;
    if (width < letters) shown = whole;
    if (width > letters) return `${shown}…`;
  }
  return text;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Return a text for XML; letters that no XML file may hold are left out. */
function escaped(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "").replace(/[&<>"]/g, (letter) => ENTITIES[letter]!);
}
