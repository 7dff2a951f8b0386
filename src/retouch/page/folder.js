// The photos in the server's folder, which of them are listed, and what those that are seen look like.

import { tell } from "./problems.js";
import * as service from "./service.js";
import { $, make, text } from "./texts.js";

const FEW = 8; // are found without a search

let last = null; // the name of the photo that was taken last: whoever goes through a folder goes on from there

/** Lists the photos of the server's folder; `open(name)` is called with the one that is taken. */
export async function listPhotos(open) {
  const [dialog, list, search] = [$("#photos"), $("#photo-list"), $("#photo-search")];
  list.replaceChildren();
  search.hidden = true;
  tell($("#photos-error"), null);
  dialog.showModal();
  try {
    const names = (await service.photos()).sort(new Intl.Collator(undefined, { numeric: true }).compare);
    if (!names.length) $("#photos-error").textContent = text("folder-empty");
    const take = (name) => (dialog.close(), open((last = name)));
    const items = names.map((name) => {
      const picture = make("img", { alt: "" });
      const attributes = { type: "button", title: name, "aria-current": name === last && "true", onclick: () => take(name) };
      return make("li", {}, make("button", attributes, picture, make("span", {}, name)));
    });
    const found = () => items.filter((item) => !item.hidden);
    search.oninput = () => {
      const parts = search.value.toLowerCase().split(/\s+/);
      for (const item of items) item.hidden = !parts.every((part) => item.textContent.toLowerCase().includes(part));
      $("#photo-count").textContent = text("photos-found", { found: found().length, all: items.length });
    };
    search.onkeydown = (event) => {
      if (event.key === "Enter") found()[0]?.firstChild.click();
      if (event.key !== "ArrowDown") return;
      const [first, ...others] = found().map((item) => item.firstChild);
      (others.find((button) => button.title === last) ?? first)?.focus();
      event.preventDefault();
    };
    list.onkeydown = (event) => {
      const all = found().map((item) => item.firstChild);
      const across = all.filter(({ offsetTop }) => offsetTop === all[0].offsetTop).length;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
      if (!step) return;
      all[all.indexOf(document.activeElement) + step]?.focus();
      event.preventDefault();
    };
    search.value = "";
    search.oninput();
    search.hidden = $("#photo-count").hidden = names.length <= FEW;
    list.replaceChildren(...items);
    showSeen(list, dialog);
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
    (search.hidden ? list.querySelector("button") : search)?.focus({ preventScroll: true });
  } catch (problem) {
    tell($("#photos-error"), problem);
  }
}

/** Fetches the thumbnails of the photos that are in sight, one after the other, until the dialog closes. */
function showSeen(list, dialog) {
  const closed = new AbortController();
  const waiting = new Set();
  let busy = false;
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) waiting[isIntersecting ? "add" : "delete"](target);
    if (!busy) fetchAll();
  });
  async function fetchAll() {
    busy = true;
    for (const image of waiting) {
      waiting.delete(image);
      seen.unobserve(image);
      try {
        image.src = URL.createObjectURL(await service.thumbnail(image.parentNode.title, closed.signal));
        image.onload = () => URL.revokeObjectURL(image.src);
      } catch {
        // its name will do
      }
    }
    busy = false;
  }
  for (const image of list.querySelectorAll("img")) seen.observe(image);
  dialog.addEventListener(
    "close",
    () => {
      seen.disconnect();
      waiting.clear();
      closed.abort();
    },
    { once: true },
  );
}
