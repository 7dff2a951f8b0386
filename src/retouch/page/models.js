// The choice of a model: by what it is for, how near it came to photographs that it did not know, and how long it took.

import { recall } from "./memory.js";
import { $, make, sentence, text } from "./texts.js";

// Only figures on the same photographs and holes can be compared: models with the same ones stand together.
const KINDS = ["scenes", "faces", "cifar"]; // of photographs, as the names of data begin
const OTHERS = "others";

const rowsOf = (model) => model.quality.filter((row) => row.model === model.name);

/** Fills the dialog with models; `choose(model)` is called with the one that is taken. */
export function listModels(models, current, choose) {
  const lists = new Map(); // { kind, held, own } by what was measured on
  for (const model of models) {
    const [row] = rowsOf(model);
    const kind = KINDS.find((one) => row?.data.startsWith(one)) ?? OTHERS;
    const held = row ? [inWords(row.masks), row.data.split(", ")[1]].filter(Boolean).join(", ") : "";
    const list = lists.get(kind + held) ?? { kind, held, own: [] };
    lists.set(kind + held, { ...list, own: [...list.own, model] });
  }
  const order = [...KINDS, OTHERS];
  const sorted = [...lists.values()].sort((one, other) => order.indexOf(one.kind) - order.indexOf(other.kind));
  const cards = (own) => own.map((model) => card(model, model.name === current, choose));
  $("#model-list").replaceChildren(
    ...sorted.flatMap(({ kind, held, own }) => [
      make("h3", {}, text(`kind-${kind}`), make("span", {}, held)),
      ...cards(own),
    ]),
  );
}

/** A model at a glance; the rest is folded. */
function card(model, checked, choose) {
  const input = make("input", { type: "radio", name: "model", value: model.name, checked, onchange: () => choose(model) });
  const seconds = recall("seconds")?.[model.name];
  const pace = seconds ? text("took", { seconds: seconds.toFixed(1) }) : model.several ? text("slow") : "";
  const [row] = rowsOf(model);
  const about = [
    model.current ? text("own") : "",
    model.classical ? text("classical") : model.bytes ? text("size", { megabytes: (model.bytes / 1e6).toFixed(1) }) : "",
    model.licence ? text("licence", model) : "",
  ];
  const more = make("summary", { "aria-label": text("details", model), title: text("details", model) });
  return make(
    "div",
    { class: "model-card" },
    make(
      "label",
      {},
      input,
      make("b", {}, model.name),
      make("span", { class: "figure" }, row ? `${row.psnr.toFixed(1)} dB` : ""),
      make("span", { class: "good" }, sentence(model.good_for), ...small(pace)),
    ),
    make("details", {}, more, ...about.flatMap(small), quality(model)),
  );
}

const small = (words) => (words ? [make("span", { class: "dim small" }, sentence(words))] : []);

/** "strokes 0.1-0.2" in words. */
function inWords(masks) {
  const [, kind, from, to] = masks.match(/^(.*) ([\d.]+)-([\d.]+)$/) ?? [];
  if (!kind) return masks;
  const share = [...new Set([from, to].map((part) => Math.round(part * 100)))].join("–");
  return text("share", { kind, share });
}

/** The measured rows of a model, each with what it was measured on. */
function quality(model) {
  const rows = rowsOf(model);
  if (!rows.length) return make("span", { class: "dim small" }, text("not-measured"));
  const number = (value, digits) => (value === undefined ? "–" : value.toFixed(digits));
  const heads = ["", "PSNR", "SSIM", "LPIPS"].map((head) => make("th", { scope: "col" }, head));
  const data = (row) => (row.photos ? text("photos", row) : row.data);
  const cells = (row) => [
    make("th", { scope: "row" }, inWords(row.masks), make("span", { class: "dim small" }, data(row))),
    make("td", {}, number(row.psnr, 1)),
    make("td", {}, number(row.ssim, 3)),
    make("td", {}, number(row.lpips, 3)),
  ];
  const body = rows.map((row) => make("tr", {}, ...cells(row)));
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
}
