/** Words of the facts in the head of an execution. */
export const facts = {
  soFar: "So far",
  parent: "Parent",
  rerunOf: "Re-run of",
  openFlow: "Edit the flow",
  readFlow: "Open the flow",
  toError: "Show the error",
  deleteRecord: "Delete…",
  by: "By",
  cancelledBy: "Cancelled by",
};
