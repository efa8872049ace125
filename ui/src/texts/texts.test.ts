import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const SOURCES = new URL("..", import.meta.url);
const files = readdirSync(SOURCES, { recursive: true, encoding: "utf8" }).filter((name) => /\.tsx?$/.test(name) && !name.endsWith(".test.ts"));
const sources = files.filter((name) => !name.startsWith("texts/")).map((name) => readFileSync(new URL(name, SOURCES), "utf8"));
const modules = files.filter((name) => name.startsWith("texts/")).map((name) => /texts\/(.*)\.ts$/.exec(name)![1]!);

/** The keys of the objects of texts of a module. */
async function keysOf(module: string): Promise<string[]> {
  const found = (await import(`./${module}.ts`)) as Record<string, unknown>;
  return Object.values(found).flatMap((value) => (typeof value === "object" && value !== null ? Object.keys(value) : []));
}

// The hints are found by what the server says, and the names of states by what it sends.
test.each(modules.filter((module) => module !== "hints"))("each text of %s is shown somewhere", async (module) => {
  const using = sources.filter((source) => source.includes(`texts/${module}"`));
  const text = using.join("\n");
  // Where a text is chosen by a name, that name is in a source.
  const chooses = /\b(texts|words|\w+Texts)\[/.test(text);
  const states = module === "common" ? Object.keys({ ...(await import("./common")).statuses, ...(await import("./common")).triggerTypes }) : [];
  const unused = (await keysOf(module)).filter((key) => !new RegExp(`\\.${key}\\b`).test(text) && !(chooses && sources.some((source) => new RegExp(`\\b${key}: |"${key}"|\\b${key},`).test(source))) && !states.includes(key));

  expect(using.length).toBeGreaterThan(0);
  expect(unused).toEqual([]);
});
