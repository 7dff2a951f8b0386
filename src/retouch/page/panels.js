// What floats and opens: the notice, the progress, menus, dialogs, thumbnails.

import { worded } from "./problems.js";
import { $, make } from "./texts.js";

// ---- notice and progress ----------------------------------------------------------------------------------

let fading = 0;

/**
 * Says something over the photo, a text or { message, detail }; an error stays until it is closed. With { label, run }
 * there is a button beside it.
 */
export function notice(what, wrong = false, action = null) {
  const line = $("#notice");
  const { message } = typeof what === "string" ? (what = { message: what }) : what;
  clearTimeout(fading);
  line.hidden = !message;
  line.classList.toggle("wrong", wrong);
  line.firstElementChild.replaceChildren(...worded(what));
  $("#act").hidden = !action;
  $("#act").textContent = action?.label ?? "";
  $("#act").onclick = () => action.run();
  announce(message, wrong);
  if (message && !wrong) fading = setTimeout(() => (line.hidden = true), action ? 15_000 : 6000);
}
$("#notice > :last-child").onclick = () => notice("");

/** Says something to screen readers: in places that are always there, as those watch no others reliably. */
function announce(message, wrong = false) {
  $("#alarm").textContent = wrong ? message : "";
  $("#said").textContent = wrong ? "" : message;
}

let doing = ""; // what was said of it

/** Shows that something is going on; `working(null)` ends it. Without a total the bar only moves. */
export function working(message, done = 0, total = 0) {
  const panel = $("#working");
  if (panel.hidden) notice(""); // what is said meanwhile stays
  if (panel.hidden && message) announce((doing = message));
  panel.hidden = message === null;
  if (message === null) {
    if ($("#said").textContent === doing) announce(""); // it is over
    return;
  }
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

// ---- thumbnails and files ---------------------------------------------------------------------------------

/** A row of pictures to choose from: [{ thumb, label, current, choose }]. */
export function thumbnails(list, entries) {
  list.hidden = entries.length < 2;
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  const chosen = () => [...list.children].findIndex((item) => item.querySelector("[aria-current=true]"));
  const before = chosen();
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
  const scroll = { block: "nearest", inline: "nearest", container: "nearest" }; // of the list alone
  if (chosen() !== before) list.children[chosen()]?.scrollIntoView(scroll);
}

/** Ends the choice between several answers. */
export function pickOff() {
  $("#answers").hidden = true;
}

/** Lets the browser save a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
