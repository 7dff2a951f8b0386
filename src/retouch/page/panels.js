// What floats and opens: the notice, the progress, menus, dialogs, the choice of a model, thumbnails.

import { tell, worded } from "./problems.js";
import * as service from "./service.js";
import { $, make, sentence, text } from "./texts.js";

// ---- notice and progress ----------------------------------------------------------------------------------

let fading = 0;

/** Says something over the photo, a text or { message, detail }; an error stays until it is closed. */
export function notice(what, wrong = false) {
  const line = $("#notice");
  const { message } = typeof what === "string" ? (what = { message: what }) : what;
  clearTimeout(fading);
  line.hidden = !message;
  line.classList.toggle("wrong", wrong);
  line.firstElementChild.replaceChildren(...worded(what));
  announce(message, wrong);
  if (message && !wrong) fading = setTimeout(() => (line.hidden = true), 6000);
}
$("#notice button").onclick = () => notice("");

/** Says something to screen readers: in places that are always there, as those watch no others reliably. */
function announce(message, wrong = false) {
  $("#alarm").textContent = wrong ? message : "";
  $("#said").textContent = wrong ? "" : message;
}

/** Shows that something is going on; `working(null)` ends it. Without a total the bar only moves. */
export function working(message, done = 0, total = 0) {
  const panel = $("#working");
  if (panel.hidden) notice(""); // what is said meanwhile stays
  if (panel.hidden && message) announce(message);
  panel.hidden = message === null;
  if (message === null) return;
  $("#working-text").textContent = message;
  const bar = $("#working-bar");
  if (total) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
}

// ---- menus and dialogs ------------------------------------------------------------------------------------

for (const dialog of document.querySelectorAll("dialog")) {
  const close = dialog.querySelector(".close");
  if (!close) continue;
  close.onclick = () => dialog.close();
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

for (const menu of document.querySelectorAll("[popover]")) {
  const button = $(`[popovertarget="${menu.id}"]`);
  menu.addEventListener("toggle", (event) => {
    button.setAttribute("aria-expanded", String(event.newState === "open"));
    if (event.newState !== "open") return;
    const at = button.getBoundingClientRect();
    const left = Math.min(innerWidth - menu.offsetWidth - 8, at.left + at.width / 2 - menu.offsetWidth / 2);
    menu.style.left = `${Math.max(8, left)}px`;
    const below = at.top < innerHeight / 2;
    const top = below ? at.bottom + 6 : at.top - menu.offsetHeight - 10;
    menu.style.top = `${Math.max(8, Math.min(innerHeight - menu.offsetHeight - 8, top))}px`;
    (menu.querySelector("button, input, select") ?? menu).focus();
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const items = [...menu.querySelectorAll("[role=menuitem]:enabled")];
    if (!items.length) return;
    const next = items.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    items.at(next % items.length).focus();
    event.preventDefault();
  });
}

for (const output of document.querySelectorAll("output[for]")) {
  const input = document.getElementById(output.htmlFor.value);
  const show = () => (output.textContent = [input.value, output.dataset.unit].filter(Boolean).join(" "));
  input.addEventListener("input", show);
  show();
}

// ---- the choice of a model --------------------------------------------------------------------------------

/** Fills the dialog with models; `choose(model)` is called with the one that is taken. */
export function listModels(models, current, choose) {
  $("#model-list").replaceChildren(
    ...models.map((model) => {
      const input = make("input", {
        type: "radio",
        name: "model",
        value: model.name,
        checked: model.name === current,
        onchange: () => choose(model),
      });
      const tag = model.classical ? text("classical") : model.bytes ? text("size", { megabytes: (model.bytes / 1e6).toFixed(1) }) : "";
      return make(
        "label",
        { class: "model-card" },
        make("span", { class: "head" }, input, make("b", {}, model.name), make("span", { class: "tag" }, tag)),
        make("span", { class: "good" }, sentence(model.good_for)),
        quality(model),
        ...(model.licence ? [make("span", { class: "dim small" }, text("licence", { licence: model.licence }))] : []),
      );
    }),
  );
}

/** "strokes 0.1-0.2" in words. */
function holes(masks) {
  const [, kind, from, to] = masks.match(/^(.*) ([\d.]+)-([\d.]+)$/) ?? [];
  if (!kind) return masks;
  const share = [...new Set([from, to].map((part) => Math.round(part * 100)))].join("–");
  return text("share", { kind, share });
}

/** The measured rows of a model, each with what it was measured on. */
function quality(model) {
  const rows = model.quality.filter((row) => row.model === model.name);
  const data = (row) => (row.photos ? text("photos", row) : row.data);
  if (!rows.length) return make("span", { class: "dim small" }, text("not-measured"));
  const number = (value, digits) => (value === undefined ? "–" : value.toFixed(digits));
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...["", "PSNR", "SSIM", "LPIPS"].map((head) => make("th", { scope: "col" }, head)))),
    make(
      "tbody",
      {},
      ...rows.map((row) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, holes(row.masks), make("span", { class: "dim small" }, data(row))),
          make("td", {}, number(row.psnr, 1)),
          make("td", {}, number(row.ssim, 3)),
          make("td", {}, number(row.lpips, 3)),
        ),
      ),
    ),
  );
}

// ---- thumbnails and files ---------------------------------------------------------------------------------

/** A row of pictures to choose from: [{ thumb, label, current, choose }]. */
export function thumbnails(list, entries) {
  list.hidden = entries.length < 2;
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(
    ...entries.map(({ thumb, label, current, choose }) => {
      const canvas = make("canvas", { width: 244, height: 184 });
      const scale = Math.max(canvas.width / thumb.width, canvas.height / thumb.height);
      const [width, height] = [thumb.width * scale, thumb.height * scale];
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(thumb, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
      const button = make("button", { type: "button", "aria-current": String(current), onclick: choose }, canvas, label);
      return make("li", {}, button);
    }),
  );
  list.children[focused]?.firstElementChild.focus({ preventScroll: true });
}

/** Ends the choice between several answers. */
export function pickOff() {
  $("#answers").hidden = true;
}

/** Lists the photos of the server's folder; `open(name)` is called with the one that is taken. */
export async function listPhotos(open) {
  const dialog = $("#photos");
  const error = $("#photos-error");
  tell(error, null);
  dialog.showModal();
  try {
    const names = await service.photos();
    $("#photo-list").replaceChildren(
      ...names.map((name) =>
        make("li", {}, make("button", { type: "button", onclick: () => (dialog.close(), open(name)) }, name)),
      ),
    );
    if (!names.length) error.textContent = text("folder-empty");
  } catch (problem) {
    tell(error, problem);
  }
}

/** Lets the browser save a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
