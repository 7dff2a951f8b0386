// The choice of a model: by what it is for, how near it came to photographs that it did not know, and how long it took.

import { recall } from "./memory.js";
import { $, has, make, sentence, text } from "./texts.js";

// Models for the same photographs and holes stand together, the lowest LPIPS first. Only figures that were measured on
// the same can be compared: those that most of a list have are shown, the others are among the details.
const KINDS = ["scenes", "faces", "cifar"]; // of photographs, as the names of data begin
const OTHERS = "others";
const HOLES = ["strokes", "center", "rectangle"]; // their kinds, the most frequent damage first

const rowsOf = (model) => model.quality.filter((row) => row.model === model.name);
const termsOf = (row) => `${row.data} ${row.masks}`;

/** Fills the dialog with models; `choose(model)` is called with the one that is taken. */
export function listModels(models, current, choose) {
  const lists = new Map();
  const place = (all, one) => (all.includes(one) ? all.indexOf(one) : all.length);
  for (const model of models) {
    const [row] = rowsOf(model);
    const kind = KINDS.find((one) => row?.data.startsWith(one)) ?? OTHERS;
    const [hole] = row?.masks.split(" ") ?? [""];
    const order = place([...KINDS, OTHERS], kind) * 9 + place(HOLES, hole);
    const list = lists.get(kind + hole) ?? { kind, order, own: [] };
    lists.set(kind + hole, { ...list, own: [...list.own, model] });
  }
  const sorted = [...lists.values()].sort((one, other) => one.order - other.order);
  $("#model-list").replaceChildren(
    ...sorted.flatMap(({ kind, own }) => {
      const terms = shared(own);
      const figure = (model) => rowsOf(model).find((row) => termsOf(row) === terms);
      const look = (model) => figure(model)?.lpips ?? Number.MAX_VALUE; // below 1 for all that was measured
      const best = (one, other) => look(one) - look(other);
      const held = own.map(figure).find(Boolean);
      return [
        make("h3", {}, text(`kind-${kind}`), make("span", {}, held ? inWords(held.masks) : "")),
        ...own.sort(best).map((model) => card(model, figure(model), model.name === current, choose)),
      ];
    }),
  );
}

/** The photographs and holes that most of some models were measured on. */
function shared(models) {
  const counts = new Map();
  for (const row of models.flatMap(rowsOf)) counts.set(termsOf(row), (counts.get(termsOf(row)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return [...counts.keys()].find((terms) => counts.get(terms) === most);
}

/** A model at a glance; the rest is folded. */
function card(model, row, checked, choose) {
  const input = make("input", { type: "radio", name: "model", value: model.name, checked, onchange: () => choose(model) });
  const seconds = recall("seconds")?.[model.name];
  const pace = seconds ? text("took", { seconds: seconds.toFixed(1) }) : model.several && !model.classical ? text("slow") : "";
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
      row ? make("b", { class: "figure" }, `${row.psnr.toFixed(1)} dB`) : make("span", { class: "dim small" }, text("not-compared")),
      make("span", { class: "good" }, sentence(model.good_for), ...small(pace)),
    ),
    make("details", {}, more, ...about.flatMap(small), quality(model)),
  );
}

const small = (words) => (words ? [make("span", { class: "dim small" }, sentence(words))] : []);

/** "center 0.25-0.25" in words. */
function inWords(masks) {
  const [, kind, from, to] = masks.match(/^(.*) ([\d.]+)-([\d.]+)$/) ?? [];
  if (!kind) return masks;
  const share = [...new Set([from, to].map((part) => Math.round(part * 100)))].join("–");
  return text("share", { kind: has(`hole-${kind}`) ? text(`hole-${kind}`) : kind, share });
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
