/** The picture of a graph as a file. */
import { download } from "../parts/download";
import { warn } from "../parts/toast";
import { graph as texts } from "../texts/graph";
import type { Layout } from "./layout";
import { pngOf, svgOf } from "./svg";

/** Save the picture as a file that is named after the flow. */
export async function save(layout: Layout, format: "SVG" | "PNG"): Promise<void> {
  if (format === "SVG") download(`${pictureName()}.svg`, svgOf(layout), "image/svg+xml");
  else await pngOf(layout).then((png) => download(`${pictureName()}.png`, png, "image/png"), () => warn(texts.tooLarge));
}

/** Return the name of the flow as part of the name of a file. */
function pictureName(): string {
  return document.title.split(" · ")[0]!.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 80) || "graph";
}
