import { readFileSync } from "node:fs";
import { build, minifySync, type Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The page of the API: Swagger UI as it is published, because it is built and compressed already. */
const swagger: Plugin = {
  name: "swagger",
  generateBundle() {
    for (const [fileName, name] of [["assets/swagger-ui.js", "swagger-ui-bundle.js"], ["assets/swagger-ui.css", "swagger-ui.css"]] as const) {
      // The maps are not shipped.
      const [source = ""] = readFileSync(`node_modules/swagger-ui-dist/${name}`, "utf8").split(/\n\/[/*]# sourceMappingURL=/);
      this.emitFile({ type: "asset", fileName, source });
    }
  },
};

/** The types of the API for programs in TypeScript, which the server offers as a file. */
const types: Plugin = {
  name: "types",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "flowrunner-api.d.ts", source: readFileSync("src/api/schema.ts", "utf8") });
  },
};

/** The scripts of the page of the API and of the first moment, which has the names of the scripts that each screen loads. */
const start: Plugin = {
  name: "start",
  generateBundle(_, bundle) {
    const scripts: Record<string, string[]> = {};
    for (const [file, chunk] of Object.entries(bundle)) {
      const screen = chunk.type === "chunk" ? /\/screens\/((?:execution\/(?=graph|timeline|logs|data))?[\w-]+)\.tsx$/.exec(chunk.facadeModuleId ?? "")?.[1] : undefined;
      if (screen === undefined) continue;
      const all = new Set([file]);
      // A set also walks through what is added meanwhile.
      for (const each of all) {
        const found = bundle[each];
        if (found?.type === "chunk") for (const other of found.imports) if (bundle[other]?.type === "chunk" && !bundle[other].isEntry) all.add(other);
      }
      scripts[screen] = [...all].map((each) => each.replace(/^assets\/|\.js$/g, ""));
    }
    const ordered = Object.fromEntries(Object.entries(scripts).sort());
    for (const fileName of ["start.js", "docs.js"]) {
      const source = readFileSync(fileName, "utf8").replace("scripts = {}", `scripts = ${JSON.stringify(ordered)}`);
      this.emitFile({ type: "asset", fileName, source: minifySync(fileName, source).code });
    }
  },
};

/** What Vite calls at each import of a script that loads later. It only loads it: no script has a style of its own, and `start.js` has asked for what scripts import. */
const imports: Plugin = {
  name: "imports",
  enforce: "pre",
  load: (id) => (id.endsWith("vite/preload-helper.js") ? "export const __vitePreload = (load) => load();" : undefined),
};

const target = ["chrome123", "firefox128", "safari17.5"];

/** The picture of a graph as one script for the server, which runs it in its sandbox. No screen loads it. */
const picture: Plugin = {
  name: "picture",
  async generateBundle() {
    const lib = { entry: "src/graph/server.ts", formats: ["iife" as const], name: "flow" };
    const built = await build({ configFile: false, logLevel: "warn", build: { write: false, target, lib } });
    for (const each of [built].flat()) if ("output" in each) this.emitFile({ type: "asset", fileName: "flow-picture.js", source: each.output[0].code });
  },
};

// The bundle is committed, so names have no hashes and nothing in it depends on the machine.
export default defineConfig({
  plugins: [imports, swagger, types, start, picture],
  build: {
    outDir: "../src/flowrunner/web",
    emptyOutDir: true,
    target,
    // The policy allows no `data:` for fonts and scripts.
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    // `start.js` does that, for whole screens.
    modulePreload: false,
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
        // Few files, each of which is compressed by itself: what every screen needs is one, and small parts of several screens others.
        codeSplitting: {
          groups: [
            { name: "base", tags: ["$initial"], priority: 3 },
            { name: "shared", test: /src.(parts.(?!form\.|field-faults|json|dialog|shown-once)|api|app.people)/, minShareCount: 3, priority: 2 },
            { name: "forms", test: /src.parts/, minShareCount: 3, priority: 1 },
            // What is loaded together anyway: a file less takes a tenth of a kilobyte less.
            { name: "follow", test: /src.(execution.(store|stream|selection|subflows)|graph.states|screens.execution.(rerun|choice|drawer))\./, includeDependenciesRecursively: false },
            { name: "rows", test: /src.(screens.(executions.(columns|labels|started-by)|execution.log-levels)|texts.execution-list)\./, includeDependenciesRecursively: false },
            { name: "charts", test: /src.(screens.overview.(charts|durations|histogram|last-result)|texts.overview)\./, includeDependenciesRecursively: false },
            { name: "people", test: /src.(texts.(workspace|invitation|security|account|passwords)|screens.account.deletion)\./, includeDependenciesRecursively: false },
            { name: "yaml", test: /src.forms.yaml\.|node_modules.yaml.browser/, includeDependenciesRecursively: false },
            { name: "flow", test: /src.(screens.flow.saved|texts.flow)\./, includeDependenciesRecursively: false },
            { name: "step", test: /src.texts.(step|timeline)\./, includeDependenciesRecursively: false },
            { name: "names", test: /src.(execution.names|graph.model|texts.(steps|executions))\./, includeDependenciesRecursively: false },
            { name: "logins", test: /src.(app.passkeys|texts.login)\./, includeDependenciesRecursively: false },
            { name: "diffs", test: /src.(diff.lines|parts.text-diff|execution.params|texts.(revisions|comparison))\./, includeDependenciesRecursively: false },
            { name: "document", test: /src.(graph.document|editor.schema|texts.build|screens.flow.palette)\./, includeDependenciesRecursively: false },
            { name: "links", test: /src.(app.(setup|confirm|invitation|passwords|forgotten|token|command-login)|texts.(confirm|command-login))\./, includeDependenciesRecursively: false },
          ],
        },
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/sign-on", "/ws", "/healthz", "/readyz"].map((path) => [path, { target: "http://127.0.0.1:8080", ws: true }]),
    ),
  },
  // The tests keep nothing in modules, so that all can share them. A machine with other work is no reason to fail.
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"], isolate: false, pool: "threads", testTimeout: 120_000 },
});
