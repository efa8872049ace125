/** Documents that a new flow can begin with: the templates of `flowrunner new`. */
import { parse } from "yaml";
import { samples as words } from "../../texts/samples";

export interface Sample {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly definition: string;
}

const files = import.meta.glob<string>("../../../../src/flowrunner/cli/flow_templates/*.yaml", { query: "?raw", import: "default", eager: true });

export const samples: readonly Sample[] = Object.entries(words.titles).map(([name, title]) => {
  const definition = files[`../../../../src/flowrunner/cli/flow_templates/${name}.yaml`]!;
  return { name, title, description: (parse(definition) as { metadata: { description: string } }).metadata.description, definition };
});
