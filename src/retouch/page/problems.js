// What goes wrong, in words that say what to do. The service's own line stays beside them, for whoever looks after it.

import { has, make, sentence, text } from "./texts.js";

/** { message, detail } of an error; what the page itself found wrong is said in its own words and needs no detail. */
export function advice({ code, message }) {
  if (!code) return { message, detail: "" };
  const name = `problem-${code}`;
  return { message: text(has(name) ? name : "went-wrong"), detail: sentence(message) };
}

/** Says an error in a place of its own. */
export function tell(place, error) {
  place.replaceChildren(...worded(error ? advice(error) : { message: "" }));
}

/** What `advice` gives, as text and elements. */
export const worded = ({ message, detail }) => (detail ? [message, make("small", { class: "detail" }, detail)] : [message]);
