export const config = {
  title: "Configuration",
  hint: "Values that differ between workspaces, such as addresses and limits. Flows read one as ${config.NAME}. They are not hidden: passwords and keys are secrets.",
  empty: "No configuration values yet",
  emptyHint: "With values here, the same flow runs in staging and in production.",
  add: "New value",
  name: "Name",
  nameHint: "Letters, digits and underscores, such as RECIPIENT.",
  valueHint: "Text, or JSON such as 500, true or [\"a\", \"b\"]. Executions that have started keep the value before.",
  deleteHint: "Flows that name it will fail.",
  deleteUsed: "Flows that name it will fail:",
  deleteIt: "Delete the value",
};
