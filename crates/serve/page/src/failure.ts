// An error, as text where it happened.

import { RequestFailure } from "./api";
import { element } from "./dom";

const hints: Record<number, string> = {
  401: "Put the server's key into “API key” under Settings.",
  429: "The server is at its limit; try again in a moment.",
  503: "The server is stopping or has no room; try again in a moment.",
};

/** A box that says what went wrong with a request. */
export function failureBox(problem: unknown): HTMLElement {
  const failure = problem instanceof RequestFailure ? problem : new RequestFailure(String(problem));
  const title = failure.status === undefined ? "Error" : `Error ${failure.status}`;
  const box = element("div", "failure", element("strong", "", title), " ", element("span", "", failure.message));
  box.setAttribute("role", "alert");
  if (failure.param && !failure.message.includes(failure.param)) box.append(" (in ", element("code", "", failure.param), ")");
  const hint = failure.status === undefined ? undefined : hints[failure.status];
  if (hint) box.append(element("p", "hint", hint));
  return box;
}
