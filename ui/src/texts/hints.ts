import { duration } from "../parts/format";

/** What a reader of a screen does about an error, by its code: the server's hints for these are for programs. An empty one says nothing more. */
export const hints: Record<string, string> = {
  unauthorized: "",
  validation_error: "",
};

/** Return what a reader does about a limit that was reached, by its message, and the seconds that the server has named. */
export function hintOfLimit(message: string, seconds: number | undefined): string {
  if (/try again|wait for one|close some/i.test(message)) return "";
  return seconds === undefined ? "wait a moment, then try again" : `wait ${duration(seconds * 1000)}, then try again`;
}

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

/** What the server's hints for programs say to a reader of a screen, where the error itself has no closer one. */
export const forPeople: Record<string, string> = {
  "read the object again, and send a request that fits its present state": "reload the page to see its present state",
  "read the object again, and repeat the change with its new ETag": "it was changed meanwhile: reload the page, then change it again",
  "use an account, or an API token, with the right that x-right names in /api/v1/openapi.json":
    "ask an admin of the workspace for a role that may do this",
  "send less in one request": "make it smaller, then try again",
  "give request_id to the operator, whose log has the reason": "give the number of the request to the operator, whose log has the reason",
  "send the request again after the seconds in Retry-After": "wait a moment, then try again",
  'send {"disabled": false} with PUT /api/v1/flows/{id} to enable it': "enable it in its settings",
};

/** What an answer means that is not the server's own, such as one of a proxy before it, by its status. */
export const foreign: Record<number, readonly [message: string, hint: string]> = {
  413: ["This is too large", "make it smaller, or ask the operator to raise the limit of the proxy"],
  502: ["The server does not answer", "it may be starting again: wait a moment"],
  503: ["The server does not answer", "it may be starting again: wait a moment"],
  504: ["The server has not answered in time", "look whether it was done before you try again"],
};
