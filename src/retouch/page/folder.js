// The photos in the server's folder, and which of them are listed.

import { tell } from "./problems.js";
import * as service from "./service.js";
import { $, make, text } from "./texts.js";

const FEW = 8; // are found without a search

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
    const take = (name) => (dialog.close(), open(name));
    const items = names.map((name) => make("li", {}, make("button", { type: "button", onclick: () => take(name) }, name)));
    const found = () => items.filter((item) => !item.hidden);
    search.oninput = () => {
      const parts = search.value.toLowerCase().split(/\s+/);
      for (const item of items) item.hidden = !parts.every((part) => item.textContent.toLowerCase().includes(part));
      $("#photo-count").textContent = text("photos-found", { found: found().length, all: items.length });
    };
    search.onkeydown = (event) => {
      if (event.key === "Enter") found()[0]?.firstChild.click();
    };
    search.value = "";
    search.oninput();
    search.hidden = $("#photo-count").hidden = names.length <= FEW;
    list.replaceChildren(...items);
    if (!search.hidden) search.focus();
  } catch (problem) {
    tell($("#photos-error"), problem);
  }
}
