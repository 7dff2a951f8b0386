// Opening a photo: by button, drop, paste, from an example or from the server's folder.

import { page } from "./album.js";
import { compare, show } from "./filling.js";
import { listPhotos } from "./folder.js";
import { job } from "./job.js";
import { Mask } from "./mask.js";
import { loadMask } from "./painting.js";
import { notice, pickOff } from "./panels.js";
import { blackAndWhite, pictureOf, suffixOf } from "./pictures.js";
import { advice, tell } from "./problems.js";
import * as service from "./service.js";
import { locked, state, steps, view } from "./state.js";
import { $, text } from "./texts.js";

/** Goes over to a photo, with its mask and results. */
function enter({ name, versions, current, mask }) {
  Object.assign(state, { name, versions, mask });
  view.mask = mask.canvas;
  pickOff();
  show(current);
  compare(false);
  view.fit();
}

/** Opens a photo, which `fetched(signal)` gives, as a step that undo takes back where another one was open. */
function open(fetched, fileName, maskBlob = null) {
  complain(null);
  const work = async (signal) => {
    const blob = await fetched(signal);
    refuse("too_many_bytes", blob.size, state.limits.max_bytes);
    const photo = await page(blob, signal);
    refuse("too_many_pixels", photo.width * photo.height, state.limits.max_pixels);
    if (!maskBlob && (await isMask(photo))) {
      loadMask(await pictureOf(photo.file, signal, true));
      return notice(text("mask-taken"));
    }
    const hole = maskBlob && (await pictureOf(maskBlob, signal, true).catch((error) => error));
    signal.throwIfAborted();
    const [, own] = /\.(\w{1,5})$/.exec(fileName) ?? [];
    const original = { ...photo, label: text("original"), suffix: await suffixOf(blob, own) };
    const before = { ...state };
    const opened = {
      name: fileName.replace(/\.[^.]*$/, "") || "photo",
      versions: [original],
      current: original,
      mask: new Mask(photo.width, photo.height),
    };
    $("#welcome").hidden = true;
    $("#canvas").hidden = $("#view").hidden = false;
    enter(opened);
    if (before.mask) {
      const bytes = photo.width * photo.height * 4 + blob.size; // the mask and the photo
      steps.push({ undo: () => enter(before), redo: () => enter(opened), bytes });
      notice(text("opened", before));
    }
    if (hole instanceof Error) notice(text("mask-unreadable"), true);
    else if (hole) {
      loadMask(hole);
      if (state.mask.empty) notice(text("mask-black"), true);
    }
    $("#canvas").focus({ preventScroll: true });
  };
  return job("reading", work, complain);
}

/** Refuses a photo that the server would, before anything is painted. */
function refuse(code, size, most) {
  if (size > most) throw new service.ServiceError(text(`problem-${code}`));
}

/** Says what is wrong where one looks: over the photo, or on the first screen. */
function complain(error) {
  if (state.current) notice(error ? advice(error) : "", true);
  else tell($("#welcome-error"), error);
}

/** Whether a picture that is opened is meant as a mask of the photo that is open, and is no scan as that is. */
async function isMask(photo) {
  const [open] = state.versions;
  if (photo.width !== open?.width || photo.height !== open.height) return false;
  const [soft, hard] = [0.4, 0.03]; // a thumbnail's edges are blurred; it spares looking at every photo as a whole
  if (!blackAndWhite(photo.thumb, soft) || blackAndWhite(open.thumb, soft)) return false;
  const picture = await pictureOf(photo.file);
  const is = blackAndWhite(picture, hard);
  picture.close();
  return is;
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
    await open(() => photo, key, holes);
  } catch {
    complain(new service.ServiceError(text("unreachable")));
  }
}

for (const button of document.querySelectorAll("[data-sample]")) {
  button.onclick = () => sample(button.dataset.sample, "damaged" in button.dataset);
}

/** Whether a file is a black and white picture: a photo and its mask may have names alike, as for the command. */
async function looksLikeMask(file) {
  const picture = await pictureOf(file).catch(() => null);
  const is = Boolean(picture) && blackAndWhite(picture, 0.03);
  picture?.close();
  return is;
}

/** Opens what was dropped or pasted: a photo, or a photo and its mask; it may be a text or a link instead. */
async function openGiven({ files }, none) {
  const given = [...files];
  if (!given.length) return locked() || complain(new service.ServiceError(text(none)));
  if (given.length === 2) {
    const named = given.map(({ name }) => /mask/i.test(name));
    const masks = named[0] === named[1] && !locked() ? await Promise.all(given.map(looksLikeMask)) : named;
    if (masks[0] !== masks[1]) return openFile(given[masks.indexOf(false)], given[masks.indexOf(true)]);
  }
  const before = state.current;
  await openFile(given[0]);
  if (given.length > 1 && state.current !== before) notice(text("one-at-a-time", { name: given[0].name }));
}

/** What a file holds now: browsers read none that was changed, moved or deleted after it was chosen. */
async function held(file) {
  try {
    return await new Response(file.stream()).blob();
  } catch {
    throw new service.ServiceError(text("not-read"));
  }
}

const openFile = (file, mask) => file && (locked() ? notice(text("not-now")) : open(() => held(file), file.name, mask));
export const choosePhoto = () => $("#photo-file").click();
$("#open").onclick = $("#welcome-open").onclick = choosePhoto;
$("#photo-file").onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  openFile(file);
};
addEventListener("paste", (event) => {
  if (event.target.closest?.("input:not([type=range]), dialog")) return;
  openGiven(event.clipboardData, "nothing-pasted");
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  if (locked()) event.dataTransfer.dropEffect = "none"; // nothing would be opened
  else document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  openGiven(event.dataTransfer, "nothing-dropped");
});
$("#folder").onclick = () => listPhotos((name) => open((signal) => service.photo(name, signal), name));
