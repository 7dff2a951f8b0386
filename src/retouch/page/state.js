// What all parts of the page share.

import { $ } from "./texts.js";
import { Steps } from "./undo.js";
import { View } from "./view.js";

export const state = {
  mask: null, // of the photo that is open
  name: "photo", // of its file, without the suffix
  versions: [], // pages of the album with { label, suffix }: the photo as opened; then every result, with { from, hole, notes, made }
  current: null, // the version that is shown
  models: [], // the service's
  model: null, // one of them
  limits: {}, // the server's: max_bytes of a request, max_pixels of a photo
  job: null, // AbortController of what is going on
};

/** Whether nothing may be changed now: a job is going on, or a stroke is being drawn. */
export const locked = () => Boolean(state.job || state.mask?.tiles);

let update = () => {};

/** Brings the buttons and the history in line with the state. */
export const refresh = () => update();

/** Says how that is done. */
export const onrefresh = (how) => (update = how);

export const view = new View($("#canvas"), [$("#view"), $("#versions")]);
export const steps = new Steps(refresh);
