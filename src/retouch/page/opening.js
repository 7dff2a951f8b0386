// Opening a photo: by button, drop, paste, from an example or from the server's folder.

import { page } from "./album.js";
import { compare, show } from "./filling.js";
import { job } from "./job.js";
import { Mask } from "./mask.js";
import { loadMask } from "./painting.js";
import { listPhotos, notice, pickOff } from "./panels.js";
import { pictureOf } from "./pictures.js";
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
  const wrong = (reason) => {
    const message = text("not-a-picture", { reason });
    if (state.current) notice(message, true);
    else $("#welcome-error").textContent = message;
  };
  $("#welcome-error").textContent = "";
  const work = async (signal) => {
    const blob = await fetched(signal);
    const photo = await page(blob, signal);
    const hole = maskBlob && (await pictureOf(maskBlob, signal));
    signal.throwIfAborted();
    const [, suffix] = /\.(\w{1,5})$/.exec(fileName) ?? [];
    const original = { ...photo, label: text("original"), suffix };
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
    if (hole) loadMask(hole);
    $("#canvas").focus({ preventScroll: true });
  };
  return job("reading", work, wrong);
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
    $("#welcome-error").textContent = text("unreachable");
  }
}

for (const button of document.querySelectorAll("[data-sample]")) {
  button.onclick = () => sample(button.dataset.sample, "damaged" in button.dataset);
}

const openFile = (file) => file && (locked() ? notice(text("not-now")) : open(() => file, file.name));
export const choosePhoto = () => $("#photo-file").click();
$("#open").onclick = $("#welcome-open").onclick = choosePhoto;
$("#photo-file").onchange = (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  openFile(file);
};
addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  openFile(file);
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
  const [file] = event.dataTransfer.files;
  openFile(file);
});
$("#folder").onclick = () => listPhotos((name) => open((signal) => service.photo(name, signal), name));
