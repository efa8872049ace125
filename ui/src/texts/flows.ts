/** Words of the list of flows. */
export const flows = {
  title: "Flows",
  name: "Flow",
  tags: "Tags",
  version: "Version",
  revision: "Revision",
  changed: "Changed",
  disabled: "disabled",
  tagged: "Tagged",
  removeTag: (tag: string) => `Show flows without the tag ${tag} too`,
  none: "No flows yet",
  noneHint: "A flow is a YAML document of nodes that lead to each other. Begin with a sample, and watch it run.",
  noneTagged: (tag: string) => `No flow has the tag ${tag}`,
};
