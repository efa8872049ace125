/** What a reader of a screen does about an error, by its code: the server's hints for these are for programs. An empty one says nothing more. */
export const hints: Record<string, string> = {
  unauthorized: "",
  validation_error: "",
  forbidden: "ask an admin of the workspace for a role that may do this",
  too_many_requests: "wait a moment, then try again",
};

const OF_WORKSPACES = /^(Flow|Revision|Execution|Step|Trigger|Delivery|Callback|Job|Secret|Approval .*) not found$/;
const OTHERS: Record<string, string> = {
  "Workspace not found": "it may have been deleted, or you are no longer a member",
  "Member not found": "they may have left the workspace",
  "Invitation not found": "it may have been accepted, or withdrawn",
  "Session not found": "it may have ended",
  "No account has this id, or has confirmed this e-mail address": "check it, or invite the person to the workspace",
};

/** Return what a reader does about something that is not there, by the message; "" if the message says all. */
export function hintOfMissing(message: string): string {
  if (OF_WORKSPACES.test(message)) return "it may have been deleted, or belong to another workspace";
  return OTHERS[message] ?? (message.endsWith(" not found") ? "it may have been deleted" : "");
}
