// What goes wrong, in words that say what to do. The service's own line stays beside them, for whoever looks after it.

import { make, sentence, text } from "./texts.js";

const KNOWN = [
  // status of HTTP, what the service's line has in it, and the words in its place
  [404, /model/, "model-gone"],
  [404, /photograph/, "photo-gone"],
  [404, /folder/, "folder-gone"],
  [408, /./, "too-slow"],
  [413, /pixels|px/, "too-many-pixels"],
  [413, /./, "too-many-bytes"],
  [415, /./, "no-picture"],
  [422, /leaves known pixels/, "all-painted"],
  [422, /damaged|whole picture/, "damaged"],
  [429, /./, "busy"],
  [500, /model failed/, "model-failed"],
  [503, /time limit/, "too-long"],
  [503, /extra/, "not-installed"],
  [503, /shutting down/, "stopping"],
  [503, /./, "busy"],
  [507, /./, "disk-full"],
];

/** { message, detail } of an error; what the page itself found wrong is said in its own words and needs no detail. */
export function advice({ status, message }) {
  if (status === 0) return { message, detail: "" };
  const [, , name] = KNOWN.find(([code, pattern]) => code === status && pattern.test(message)) ?? [0, 0, "went-wrong"];
  return { message: text(name), detail: sentence(message) };
}

/** Says an error in a place of its own. */
export function tell(place, error) {
  place.replaceChildren(...worded(error ? advice(error) : { message: "" }));
}

/** What `advice` gives, as text and elements. */
export const worded = ({ message, detail }) => (detail ? [message, make("small", { class: "detail" }, detail)] : [message]);
