/** What a reader of a screen does about an error, by its code: the server's hints for these are for programs. An empty one says nothing more. */
export const hints: Record<string, string> = {
  unauthorized: "",
  validation_error: "",
  forbidden: "ask an admin of the workspace for a role that may do this",
  not_found: "it may have been deleted, or belong to another workspace",
  too_many_requests: "wait a moment, then try again",
};
