// The theme that was chosen in the interface; that of the system if none was.
const chosen = localStorage.getItem("flowrunner.theme");
const isDark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
document.documentElement.classList.toggle("dark-mode", isDark);
// Swagger UI reads a document as YAML, and follows the references of the whole one for each operation that is opened:
// seconds for one of half a megabyte. Ours is JSON, and refers to nothing but its own parts.
const isObject = (value) => typeof value === "object" && value !== null;
const step = (part, key) => part?.[key];
const parted = (reference) => reference.slice(2).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
const resolved = (part, whole, within = []) => {
  if (!isObject(part)) return part;
  if (Array.isArray(part)) return part.map((each) => resolved(each, whole, within));
  const { $ref: reference, ...beside } = part;
  if (typeof reference !== "string" || within.includes(reference)) return mapped(part, whole, within);
  const target = resolved(parted(reference).reduce(step, whole), whole, [...within, reference]);
  return { ...target, ...mapped(beside, whole, within), $$ref: reference };
};
const mapped = (part, whole, within) =>
  Object.fromEntries(Object.entries(part).map(([key, value]) => [key, resolved(value, whole, within)]));
const quickly = () => ({
  fn: { resolveSubtree: async (whole, path) => ({ errors: [], spec: resolved(path.reduce(step, whole), whole) }) },
  statePlugins: { spec: { wrapActions: { parseToJson: (_, { specActions }) => (text) => specActions.updateJsonSpec(JSON.parse(text)) } } },
});
// Swagger UI keeps of a list of 150 rows only those in sight: the browser finds nothing in the others, and a request that is
// being written closes when it is scrolled away. This is the list without that.
const whole = ({ React: { createElement: draw } }) => ({ components: { operations: (props) => draw("div", null, tagsOf(draw, props)) } });
const tagsOf = (draw, { specSelectors, getComponent, ...others }) => {
  const [Tag, Operation] = [getComponent("OperationTag"), getComponent("OperationContainer", true)];
  const given = { ...others, getComponent, specUrl: specSelectors.url() };
  const rowOf = (tag) => (op) => {
    const [path, method] = [op.get("path"), op.get("method")];
    return draw(Operation, { key: `${method} ${path}`, op, path, method, tag, specPath: op.get("specPath") });
  };
  const contentOf = (tag, tagged) => draw("div", { className: "operation-tag-content" }, tagged.get("operations").map(rowOf(tag)).toArray());
  const tags = specSelectors.taggedOperations().entrySeq().toArray();
  return tags.map(([tag, tagged]) => draw(Tag, { ...given, key: tag, tag, tagObj: tagged }, contentOf(tag, tagged)));
};
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
  plugins: [quickly, whole],
});
