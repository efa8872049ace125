import { defineConfig } from "vitest/config";

// The bundle is committed, so names have no hashes and nothing in it depends on the machine.
export default defineConfig({
  build: {
    outDir: "../src/flowrunner/web",
    emptyOutDir: true,
    target: ["chrome123", "firefox128", "safari17.5"],
    // The policy allows no `data:` for fonts and scripts.
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/ws", "/healthz", "/readyz"].map((path) => [path, { target: "http://127.0.0.1:8080", ws: true }]),
    ),
  },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
