// The page: opens a photo, lets it be painted on, has it filled, shows what came.

import { Mask } from "./mask.js";
import { listModels, listPhotos, notice, save, thumbnails, working } from "./panels.js";
import { listen } from "./pointer.js";
import * as service from "./service.js";
import { $, text } from "./texts.js";
import { Steps } from "./undo.js";
import { View } from "./view.js";

const view = new View($("#canvas"));
const steps = new Steps(refresh);
const SIDE = 16384; // pixels: the longest side that browsers draw

let mask = null;
let name = "photo";
let versions = []; // { blob, picture, label }: the photo as it was opened, then every result
let current = null; // the version that is shown
let models = [];
let model = null;
let job = null; // AbortController of what is being filled

// ---- opening ----------------------------------------------------------------------------------------------

/** What the browser draws of a file; the server helps where the browser cannot read it (TIFF). */
async function pictureOf(blob) {
  let picture;
  try {
    picture = await createImageBitmap(blob);
  } catch {
    picture = await createImageBitmap(await service.preview(blob));
  }
  if (Math.max(picture.width, picture.height) > SIDE) {
    throw new service.ServiceError(text("too-large-screen", { size: sizeOf(picture) }));
  }
  return picture;
}

const sizeOf = (picture) => `${picture.width} × ${picture.height}`;

async function open(blob, fileName, maskBlob = null) {
  if (job) return;
  const wrong = (message) => {
    working(null);
    if (current) notice(message, true);
    else $("#welcome-error").textContent = message;
  };
  $("#welcome-error").textContent = "";
  working(text("reading"));
  $("#cancel").hidden = true;
  try {
    const picture = await pictureOf(blob);
    name = fileName.replace(/\.[^.]*$/, "") || "photo";
    versions = [{ blob, picture, label: text("original") }];
    mask = new Mask(picture.width, picture.height);
    view.mask = mask.canvas;
    steps.clear();
    pickOff();
    compare(false);
    $("#welcome").hidden = true;
    $("#canvas").hidden = $("#view").hidden = false;
    show(versions[0]);
    view.fit();
    if (maskBlob) await loadMask(maskBlob);
    working(null);
    $("#canvas").focus({ preventScroll: true });
  } catch (error) {
    wrong(text("not-a-picture", { reason: error.message }));
  }
  refresh();
}

function show(version) {
  current = version;
  view.show(version.picture);
  if (current === versions[0]) compare(false);
  refresh();
}

/** Opens an example with its mask; where that shows damage, the photo gets it first. */
async function sample(key, damaged) {
  try {
    let [photo, holes] = await Promise.all(
      [`examples/${key}.jpg`, `examples/${key}-mask.png`].map(async (path) => (await fetch(path)).blob()),
    );
    if (damaged) {
      const [clean, white] = await Promise.all([createImageBitmap(photo), createImageBitmap(holes)]);
      const canvas = new OffscreenCanvas(clean.width, clean.height);
      const pen = canvas.getContext("2d");
      pen.drawImage(clean, 0, 0);
      pen.globalCompositeOperation = "lighten";
      pen.drawImage(white, 0, 0);
      photo = await canvas.convertToBlob({ type: "image/png" });
    }
    await open(photo, key, holes);
  } catch {
    $("#welcome-error").textContent = text("unreachable");
  }
}

for (const button of document.querySelectorAll("[data-sample]")) {
  button.onclick = () => sample(button.dataset.sample, "damaged" in button.dataset);
}

const choosePhoto = () => $("#photo-file").click();
$("#open").onclick = $("#welcome-open").onclick = choosePhoto;
$("#photo-file").onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) open(file, file.name);
};
addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) open(file, file.name);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) open(file, file.name);
});
$("#folder").onclick = () =>
  listPhotos(async (file) => {
    try {
      await open(await service.photo(file), file);
    } catch (error) {
      notice(error.message, true);
    }
  });

// ---- painting ---------------------------------------------------------------------------------------------

const tools = {
  tool: "brush",
  size: Number($("#size").value),
  ready: () => Boolean(mask) && !job && !view.before,
  begin() {
    pickOff();
    mask.begin();
  },
  stroke: (...all) => mask.stroke(...all),
  area: (points) => mask.area(points),
  end: remember,
  undoCurrent: () => mask.end().swap(),
  resize(factor) {
    tools.size = Math.min(160, Math.max(4, tools.size * factor));
    $("#size").value = tools.size;
  },
  say: (key) => notice(text(key)),
};
const pointer = listen(view, tools);

/** Ends a change of the mask and makes it a step. */
function remember() {
  const { bytes, swap } = mask.end();
  const again = () => {
    swap();
    view.draw();
  };
  if (bytes) steps.push({ undo: again, redo: again, bytes });
  view.draw();
}

function take(tool) {
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
  pointer.refresh();
};

async function loadMask(blob) {
  const picture = await pictureOf(blob);
  if (picture.width !== mask.width || picture.height !== mask.height) {
    throw new service.ServiceError(text("mask-size", { mask: sizeOf(picture), photo: sizeOf(mask) }));
  }
  mask.begin();
  mask.load(picture);
  remember();
}

async function adjust(operate) {
  if (mask.empty) return notice(text("empty"));
  working(text("adjusting"));
  $("#cancel").hidden = true;
  const pixels = Math.max(2, Math.round(Math.max(mask.width, mask.height) / 250));
  try {
    await loadMask(await service.adjusted(await mask.png(), operate, pixels));
    working(null);
  } catch (error) {
    working(null);
    notice(error.message, true);
  }
}

const maskActions = {
  invert: () => (mask.begin(), mask.invert(), remember()),
  clear: () => (mask.begin(), mask.clear(), remember()),
  grow: () => adjust("expand"),
  shrink: () => adjust("shrink"),
  open: () => $("#mask-file").click(),
  download: async () => save(await mask.png(), `${name}-mask.png`),
};

function maskAction(key) {
  $("#mask-menu").hidePopover();
  if (mask && !job) maskActions[key]();
}

for (const button of document.querySelectorAll("[data-mask]")) {
  button.onclick = () => maskAction(button.dataset.mask);
}
$("#mask-file").onchange = async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    await loadMask(file);
  } catch (error) {
    notice(text("not-a-picture", { reason: error.message }), true);
  }
};

// ---- filling ----------------------------------------------------------------------------------------------

function options() {
  const fields = new FormData($("#options"));
  const chosen = { model: model.name };
  for (const key of ["dilate", "feather", "blend"]) chosen[key] = fields.get(key);
  if (model.several) for (const key of ["variants", "seed"]) chosen[key] = fields.get(key) || "0";
  return chosen;
}

async function complete() {
  if (!mask || job || !model) return;
  if (mask.empty) return notice(text("empty"));
  pickOff();
  compare(false);
  job = new AbortController();
  refresh();
  working(text("waiting"));
  $("#cancel").hidden = false;
  const progress = (done, total) => total && working(text("filling", { done, total }), done, total);
  try {
    const answer = await service.complete(current.blob, await mask.png(), options(), progress, job.signal);
    const made = await Promise.all(
      answer.blobs.map(async (blob, i) => ({
        blob,
        picture: await pictureOf(blob),
        label: text("answer", { number: i + 1 }),
      })),
    );
    working(null);
    job = null;
    accept(made);
    const seconds = answer.seconds.toFixed(1);
    const values = { model: answer.model, seconds, notes: answer.notes.join("; ") };
    notice(made.length > 1 ? text("pick") : text(answer.notes.length ? "done-note" : "done", values));
  } catch (error) {
    working(null);
    job = null;
    if (error.name === "AbortError") notice(text("cancelled"));
    else notice(error.message, true);
  }
  refresh();
}

/** Makes a result the photo, as one step that undo takes back; of several, the first until another is chosen. */
function accept(made) {
  const before = { versions, current };
  const number = versions.length;
  const result = { ...made[0], label: text("result", { number }) };
  const after = { versions: [...versions, result], current: result };
  mask.begin();
  mask.clear();
  const { bytes, swap } = mask.end();
  const restore = (state) => {
    versions = state.versions;
    show(state.current);
  };
  restore(after);
  steps.push({
    undo: () => (pickOff(), swap(), restore(before)),
    redo: () => (swap(), restore(after)),
    bytes: bytes + result.picture.width * result.picture.height * 4,
  });
  if (made.length < 2) return;
  const pick = (chosen) => {
    Object.assign(result, { blob: chosen.blob, picture: chosen.picture });
    show(result);
    thumbnails(
      $("#answers"),
      made.map((one) => ({ ...one, current: one === chosen, choose: () => pick(one) })),
    );
  };
  pick(made[0]);
}

function pickOff() {
  $("#answers").hidden = true;
}

$("#complete").onclick = complete;
$("#cancel").onclick = () => job?.abort();

// ---- results ----------------------------------------------------------------------------------------------

const SUFFIX = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/tiff": "tif", "image/bmp": "bmp" };
const resultName = () => `${name}-completed.${SUFFIX[current.blob.type] ?? "png"}`;

$("#download").onclick = () => current && save(current.blob, resultName());
$("#store").onclick = async () => {
  const chosen = resultName();
  try {
    await service.store(chosen, current.blob);
    notice(text("stored", { name: chosen }));
  } catch (error) {
    notice(error.message, true);
  }
};

function compare(on) {
  const able = on && current && current !== versions[0];
  view.before = able ? versions[0].picture : null;
  $("#compare").setAttribute("aria-pressed", String(Boolean(able)));
  $("#divide").hidden = !able;
  if (able) $("#divide").focus({ preventScroll: true });
  view.draw();
}
$("#compare").onclick = () => compare(!view.before);
$("#divide").oninput = (event) => {
  // A browser puts the thumb's middle inside the track by half its width: the line follows it.
  const width = event.target.clientWidth;
  view.divide = (20 + (event.target.value / 1000) * (width - 40)) / width;
  view.draw();
};

$("#undo").onclick = () => steps.undo();
$("#redo").onclick = () => steps.redo();
$("#zoom-in").onclick = () => view.zoom(1.5);
$("#zoom-out").onclick = () => view.zoom(1 / 1.5);
$("#fit").onclick = () => view.fit();
view.onzoom = (scale) => ($("#zoom").value = `${Math.round(scale * 100)} %`);

/** Brings the buttons and the history in line with what there is. */
function refresh() {
  const busy = Boolean(job);
  $("#undo").disabled = busy || !steps.done.length;
  $("#redo").disabled = busy || !steps.undone.length;
  $("#complete").disabled = !mask || busy || !model;
  $("#mask-button").disabled = !mask || busy;
  $("#open").disabled = $("#folder").disabled = $("#choose-model").disabled = busy;
  $("#download").disabled = $("#store").disabled = !current || busy;
  $("#compare").disabled = busy || !current || current === versions[0];
  thumbnails(
    $("#versions"),
    versions.map((version) => ({
      ...version,
      current: version === current,
      choose: () => {
        const was = current;
        if (busy || version === was) return;
        show(version);
        steps.push({ undo: () => show(was), redo: () => show(version), bytes: 0 });
      },
    })),
  );
}

// ---- models -----------------------------------------------------------------------------------------------

function useModel(chosen) {
  model = chosen;
  $("#model-name").textContent = chosen.name;
  $("#random-options").hidden = !chosen.several;
  refresh();
}

async function fetchModels() {
  models = await service.models();
  if (!model) useModel(models.find((one) => one.current) ?? models[0]);
  listModels(models, model.name, useModel);
}

$("#choose-model").onclick = async () => {
  $("#models-error").textContent = "";
  $("#models").showModal();
  try {
    await fetchModels();
  } catch (error) {
    $("#models-error").textContent = error.message;
  }
};
$("#help").onclick = () => $("#keys").showModal();

// ---- keys -------------------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]), select, textarea, dialog");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const control = event.ctrlKey || event.metaKey;
  const actions = control
    ? {
        z: () => !job && (event.shiftKey ? steps.redo() : steps.undo()),
        y: () => !job && steps.redo(),
        o: choosePhoto,
        s: () => $("#download").click(),
      }
    : {
        b: () => take("brush"),
        e: () => take("eraser"),
        r: () => take("rectangle"),
        l: () => take("lasso"),
        "[": () => (tools.resize(1 / 1.2), pointer.refresh()),
        "]": () => (tools.resize(1.2), pointer.refresh()),
        "+": () => view.zoom(1.25),
        "=": () => view.zoom(1.25),
        "-": () => view.zoom(0.8),
        0: () => view.fit(),
        c: () => compare(!view.before),
        i: () => maskAction("invert"),
        Delete: () => maskAction("clear"),
        Backspace: () => maskAction("clear"),
        "?": () => $("#keys").showModal(),
        Escape: () => (job ? job.abort() : view.before ? compare(false) : notice("")),
        Enter: () => event.target.closest("button, a, summary, .menu") || complete(),
      };
  if (typing || event.altKey || !(key in actions)) return;
  if (key !== "Enter") event.preventDefault();
  actions[key]();
});

addEventListener("beforeunload", (event) => {
  if (versions.length > 1 || (mask && !mask.empty)) event.preventDefault();
});

// ---- start ------------------------------------------------------------------------------------------------

try {
  const [config] = await Promise.all([service.config(), fetchModels()]);
  $("#folder").hidden = !config.inputFolder;
  $("#store").hidden = !config.outputFolder;
} catch (error) {
  $("#welcome-error").textContent = error.message;
}
document.body.dataset.ready = "true";
