// The theme that was chosen in the interface; that of the system if none was.
const chosen = localStorage.getItem("flowrunner.theme");
const isDark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
document.documentElement.classList.toggle("dark-mode", isDark);
// Swagger UI reads a document as YAML, which takes seconds for one of a megabyte; ours is JSON.
const readJson = () => ({
  statePlugins: { spec: { wrapActions: { parseToJson: (_, { specActions }) => (text) => specActions.updateJsonSpec(JSON.parse(text)) } } },
});
// Requests that are tried out carry the session of the browser, as those of the interface do.
SwaggerUIBundle({
  url: "/api/v1/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  // Operations show their schemas; a list of all hundreds is only slow.
  defaultModelsExpandDepth: -1,
  filter: true,
  displayRequestDuration: true,
  tryItOutEnabled: false,
  validatorUrl: null,
  plugins: [readJson],
});
