/** Words that several screens use. */
export const common = {
  product: "FlowRunner",
  loading: "Loading",
  retry: "Try again",
  isRetried: "This page tries again by itself.",
  cancel: "Cancel",
  close: "Close",
  save: "Save",
  delete: "Delete",
  copy: "Copy",
  copied: "Copied",
  copyCurl: "Copy as curl",
  hint: (text: string) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : "."),
  requestId: (id: string) => `Request ${id}`,
  older: "Older",
  first: "First page",
  next: "Next page",
  shown: (count: number, total: number) => `${count.toLocaleString("en")} of ${total.toLocaleString("en")}`,
  forEditors: "Editors and admins of this workspace can add the first one.",
  notFound: "There is nothing here",
  notFoundHint: "The address may be mistyped, or the item was deleted or is in a workspace that you cannot access.",
  toOverview: "Go to the overview",
  broken: "This screen failed",
  brokenHint: "This is a bug in FlowRunner. Reload the page; saved data is not affected.",
  reload: "Reload",
};

export const triggerTypes: Record<string, string> = { schedule: "schedule", webhook: "webhook", execution: "after a flow" };

export const statuses: Record<string, string> = {
  running: "running",
  waiting: "waiting",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  retrying: "retrying",
  skipped: "skipped",
  interrupted: "interrupted",
};
