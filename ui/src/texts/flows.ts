/** Words of the list of flows. */
export const flows = {
  title: "Flows",
  find: "Find by name or description",
  name: "Flow",
  last: "Last result",
  never: "never run",
  next: "Next start",
  tags: "Tags",
  revision: "Revision",
  changed: "Changed",
  disabled: "disabled",
  removeTag: (tag: string) => `Show flows without the tag ${tag} too`,
  none: "No flows yet",
  noneHint: "A flow is a YAML document of nodes that lead to each other.",
  start: "Start with a sample, and watch it run.",
  noMatch: "No flow matches",
  showAll: "Show all flows",
};
