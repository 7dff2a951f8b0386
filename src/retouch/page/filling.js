// Filling what is painted, and what becomes of the results.

import { look, page } from "./album.js";
import { job } from "./job.js";
import { layerOf } from "./layer.js";
import { keep, recall } from "./memory.js";
import { notice, pickOff, save, thumbnails, working } from "./panels.js";
import { lossy, sizeOf, suffixOf } from "./pictures.js";
import * as service from "./service.js";
import { locked, refresh, state, steps, view } from "./state.js";
import { $, make, sentence, text } from "./texts.js";

const OBJECTS = "patchmatch"; // what is better at them than most, and offered where another model was not good enough

function options(model) {
  const fields = new FormData($("#options"));
  const chosen = { model: model.name };
  for (const key of ["dilate", "feather", "blend"]) chosen[key] = fields.get(key);
  if (model.several) for (const key of ["variants", "seed"]) chosen[key] = fields.get(key) || "0";
  return chosen;
}

export async function complete() {
  if (!state.mask || locked() || !state.model) return;
  if (state.mask.empty) return notice(text("empty"));
  await fill(state.model, state.current, () => state.mask.png());
}

/** Lets a model fill what a mask shows of a version. */
async function fill(model, from, drawn) {
  pickOff();
  compare(false);
  const progress = (done, total) => {
    const percent = Math.floor((100 * done) / total);
    working(total ? text("filling", { percent }) : text("waiting"), done, total);
  };
  await job("sending", async (signal) => {
    const chosen = options(model);
    const mask = await drawn();
    let [photo, filled, hole] = [from.blob, null, null];
    // What is lossy is compressed once, however many fills: the photo itself is sent each time, with what was filled.
    if (await lossy(state.versions[0].blob)) {
      photo = state.versions[0].blob;
      filled = await layerOf(from, signal);
      hole = Number(chosen.dilate) ? await service.adjusted(mask, "expand", Number(chosen.dilate), signal) : mask;
    }
    const answer = await service.complete(photo, mask, filled, chosen, progress, signal);
    const made = [];
    for (const blob of answer.blobs) {
      const suffix = await suffixOf(blob, state.versions[0].suffix);
      made.push({ ...(await page(blob, signal)), suffix, label: text("answer", { number: made.length + 1 }) });
    }
    signal.throwIfAborted();
    const values = { model: answer.model, seconds: answer.seconds.toFixed(1), notes: answer.notes.join("; ") };
    keep("seconds", { ...recall("seconds"), [answer.model]: answer.seconds });
    const notes = [...new Set([...(from.notes ?? []), ...answer.notes])]; // what was lost on the way stays lost
    accept(made, { from, hole, notes, made: text("made-by", values) });
    if (made.length > 1) return notice(text("pick"));
    const other = state.models.find((one) => one.name === OBJECTS && one.name !== model.name);
    const again = () => !locked() && state.versions.includes(from) && fill(other, from, () => mask);
    const offer = other && { label: text("try", other), run: again };
    notice(text(answer.notes.length ? "done-note" : "done", values), false, offer);
  });
}

/** Makes a result the photo, as one step that undo takes back; of several, the first until another is chosen. */
function accept(made, origin) {
  const before = { versions: state.versions, current: state.current };
  const number = state.versions.length;
  const result = { ...made[0], ...origin, label: text("result", { number }) };
  const after = { versions: [...state.versions, result], current: result };
  state.mask.begin();
  state.mask.clear();
  const { bytes, swap } = state.mask.end();
  const restore = (then) => {
    state.versions = then.versions;
    show(then.current);
  };
  restore(after);
  steps.push({
    undo: () => (pickOff(), swap(), restore(before)),
    redo: () => (swap(), restore(after)),
    bytes: bytes + result.blob.size,
  });
  if (made.length < 2) return;
  const pick = (chosen) => {
    const was = state.current; // the result, or another version that was looked at meanwhile
    if (was !== result) steps.push({ undo: () => show(was), redo: () => show(result), bytes: 0 });
    Object.assign(result, { ...chosen, label: result.label, layer: null });
    show(result);
    thumbnails(
      $("#answers"),
      made.map((one) => ({ ...one, current: one === chosen, choose: () => pick(one) })),
    );
  };
  pick(made[0]);
}

$("#complete").onclick = complete;

// ---- results ----------------------------------------------------------------------------------------------

const REFUSED = /^\.|[\x00-\x1f\x7f/\\:*?"<>|]/g; // in names, by some system or other
const LONGEST = 180; // bytes of a photo's name: the service takes 200 with what is added here
const bytes = (letters) => new TextEncoder().encode(letters.join("")).length;
const resultName = (number = 1) => {
  const what = state.current === state.versions[0] ? "original" : "completed";
  const end = `${number > 1 ? `-${number}` : ""}.${state.current.suffix}`;
  const name = [...state.name]; // whole letters, also those of two UTF-16 units
  while (bytes(name) > LONGEST) name.pop();
  return `${name.join("")}-${what}${end}`.replace(REFUSED, "-");
};

$("#download").onclick = () => state.current && save(state.current.blob, resultName());
$("#store").onclick = () =>
  job("storing", async (signal) => {
    for (let number = 1; ; number++) {
      signal.throwIfAborted();
      const name = resultName(number);
      try {
        await service.store(name, state.current.blob, signal);
        return notice(text("stored", { name }));
      } catch (error) {
        if (error.code !== "exists") throw error; // else there is a file of this name
      }
    }
  });

const drawBefore = (picture) => {
  view.before = picture;
  view.draw();
};

export function compare(on) {
  const able = on && state.current && state.current !== state.versions[0];
  view.before = null;
  const [original] = state.versions;
  if (able) look(original, drawBefore, () => view.before && state.versions[0] === original);
  $("#compare").setAttribute("aria-pressed", String(Boolean(able)));
  $("#divide").hidden = !able;
  if (able) $("#divide").focus({ preventScroll: true });
  view.draw();
}
$("#compare").onclick = () => compare(!view.before);
// A browser puts the thumb's middle inside the track by half its width: the line follows it.
const THUMB = 40;
function drawLine() {
  const { clientWidth: width, value } = $("#divide");
  if (!width) return; // it is hidden
  view.divide = (THUMB / 2 + (value / 1000) * (width - THUMB)) / width;
  view.draw();
}
$("#divide").oninput = drawLine;
new ResizeObserver(drawLine).observe($("#divide"));

/** Moves the line between before and after to a place on the canvas. */
export function divide(x) {
  const range = $("#divide");
  range.value = (1000 * (x - THUMB / 2)) / (range.clientWidth - THUMB);
  range.dispatchEvent(new Event("input"));
}

/** Shows one of the versions. */
export function show(version) {
  state.current = version;
  const draw = (picture) => view.show(picture, version);
  look(version, draw, () => state.current === version);
  const names = { name: state.name, label: version.label, size: sizeOf(version) };
  document.title = text("title", names);
  $("#canvas").setAttribute("aria-label", text("photo-shown", names));
  const { notes = [], made = "" } = version;
  $("#notes-button").hidden = !notes.length;
  $("#notes-made").textContent = made;
  $("#notes-list").replaceChildren(...notes.map((note) => make("li", {}, sentence(note))));
  if (state.current === state.versions[0]) compare(false);
  refresh();
}
