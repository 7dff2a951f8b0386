// Painting: the tools, and what can be done to the mask as a whole.

import { compare, divide } from "./filling.js";
import { job } from "./job.js";
import { notice, pickOff, save } from "./panels.js";
import { pictureOf, sizeOf } from "./pictures.js";
import { listen } from "./pointer.js";
import * as service from "./service.js";
import { locked, state, steps, view } from "./state.js";
import { $, text } from "./texts.js";

export const tools = {
  tool: "brush",
  size: Number($("#size").value),
  ready: () => Boolean(state.mask) && !state.job && !view.before,
  begin() {
    pickOff();
    state.mask.begin();
  },
  stroke: (...all) => state.mask.stroke(...all),
  area: (points) => state.mask.area(points),
  end: remember,
  divider: $("#divide"),
  divide,
  undoCurrent: () => state.mask.end().swap(),
  resize(factor) {
    tools.size = Math.min(160, Math.max(4, tools.size * factor));
    $("#size").value = tools.size;
  },
  say: (key) => notice(text(key)),
};
export const pointer = listen(view, tools);

/**
 * Ends a change of the mask and makes it a step, or a part of the last one where it goes on with that; returns the step.
 * Before and after are put away: there the mask is not seen.
 */
function remember(last = null) {
  const { bytes, swap } = state.mask.end();
  const again = () => {
    swap();
    compare(false);
  };
  compare(false);
  return bytes ? steps.push({ undo: again, redo: again, bytes }, last) : last;
}

export function take(tool) {
  tools.tool = tool;
  for (const button of document.querySelectorAll("[data-tool]")) {
    const on = button.dataset.tool === tool;
    button.setAttribute("aria-checked", String(on));
    button.tabIndex = on ? 0 : -1;
  }
  pointer.refresh();
}

for (const button of document.querySelectorAll("[data-tool]")) {
  button.onclick = () => take(button.dataset.tool);
  button.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = [...document.querySelectorAll("[data-tool]")];
    const next = all.at((all.indexOf(button) + step) % all.length);
    take(next.dataset.tool);
    next.focus();
    event.preventDefault();
  };
}
$("#size").oninput = (event) => {
  tools.size = Number(event.target.value);
  pointer.sample(true);
};
$("#size").onblur = $("#size").onpointerup = () => pointer.sample(false);

/** Takes over a mask that was made elsewhere, and closes its picture. */
export function loadMask(picture) {
  if (picture.width !== state.mask.width || picture.height !== state.mask.height) {
    throw new service.ServiceError(text("mask-size", { mask: sizeOf(picture), photo: sizeOf(state.mask) }));
  }
  state.mask.begin();
  state.mask.load(picture);
  picture.close();
  remember();
}

function adjust(operate) {
  if (state.mask.empty) return notice(text("empty"));
  const pixels = Math.max(2, Math.round(Math.max(state.mask.width, state.mask.height) / 250));
  job("adjusting", async (signal) => {
    const picture = await pictureOf(await service.adjusted(await state.mask.png(), operate, pixels, signal));
    signal.throwIfAborted();
    loadMask(picture);
  });
}

const maskActions = {
  invert: () => (state.mask.begin(), state.mask.invert(), remember()),
  clear: () => state.mask.empty || (state.mask.begin(), state.mask.clear(), remember()),
  grow: () => adjust("expand"),
  shrink: () => adjust("shrink"),
  open: () => $("#mask-file").click(),
  download: async () => save(await state.mask.png(), `${state.name}-mask.png`),
};

export function maskAction(key) {
  $("#mask-menu").hidePopover();
  if (state.mask && !locked()) maskActions[key]();
}

for (const button of document.querySelectorAll("[data-mask]")) {
  button.onclick = () => maskAction(button.dataset.mask);
}
$("#mask-file").onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  const work = async (signal) => {
    const picture = await pictureOf(file, signal, true);
    signal.throwIfAborted();
    loadMask(picture);
    if (state.mask.empty) notice(text("mask-black"), true);
  };
  job("adjusting", work);
};
