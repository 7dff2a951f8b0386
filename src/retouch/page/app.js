// The page: brings its parts together.

import { compare, complete, show } from "./filling.js";
import { keep, recall } from "./memory.js";
import { listModels } from "./models.js";
import { choosePhoto } from "./opening.js";
import { maskAction, pointer, take, tools } from "./painting.js";
import { notice, thumbnails } from "./panels.js";
import { tell } from "./problems.js";
import * as service from "./service.js";
import { locked, onrefresh, refresh, state, steps, view } from "./state.js";
import { $, text } from "./texts.js";

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

const undo = () => locked() || steps.undo();
const redo = () => locked() || steps.redo();
$("#undo").onclick = undo;
$("#redo").onclick = redo;
$("#zoom-in").onclick = () => view.zoom(1.5);
$("#zoom-out").onclick = () => view.zoom(1 / 1.5);
$("#fit").onclick = () => view.fit();
view.onzoom = (scale) => ($("#zoom").value = `${Math.round(scale * 100)} %`);

onrefresh(() => {
  const busy = Boolean(state.job);
  const focused = document.activeElement;
  $("#undo").disabled = busy || !steps.done.length;
  $("#redo").disabled = busy || !steps.undone.length;
  $("#complete").disabled = !state.mask || busy || !state.model;
  $("#mask-button").disabled = !state.mask || busy;
  $("#open").disabled = $("#folder").disabled = $("#choose-model").disabled = busy;
  $("#download").disabled = $("#store").disabled = !state.current || busy;
  $("#compare").disabled = busy || !state.current || state.current === state.versions[0];
  thumbnails(
    $("#versions"),
    state.versions.map((version) => ({
      ...version,
      current: version === state.current,
      choose: () => {
        const was = state.current;
        if (locked() || version === was) return;
        show(version);
        steps.push({ undo: () => show(was), redo: () => show(version), bytes: 0 });
      },
    })),
  );
  if (!busy && focused.disabled) $("#canvas").focus({ preventScroll: true }); // keys would go nowhere
});

// ---- models -----------------------------------------------------------------------------------------------

function useModel(chosen) {
  state.model = chosen;
  $("#model-name").textContent = chosen.name;
  $("#random-options").hidden = !chosen.several;
  refresh();
}

async function fetchModels() {
  const models = (state.models = await service.models());
  const own = models.find((one) => one.current) ?? models[0];
  if (!state.model) {
    const last = recall("model"); // which holds until the service is started with another one
    useModel((last?.over === own.name && models.find((one) => one.name === last.name)) || own);
  }
  listModels(models, state.model.name, (chosen) => {
    useModel(chosen);
    keep("model", { name: chosen.name, over: own.name });
  });
}

$("#choose-model").onclick = async () => {
  tell($("#models-error"), null);
  $("#models").showModal();
  try {
    await fetchModels();
    $("#model-list :checked").focus(); // arrow keys choose, and a long list shows it
  } catch (error) {
    tell($("#models-error"), error);
  }
};
$("#options").onsubmit = (event) => event.preventDefault();
$("#help").onclick = () => $("#keys").showModal();

// ---- keys -------------------------------------------------------------------------------------------------

/** The key that a person pressed: of letters that are not Latin, the one at that place of a keyboard that is. */
function keyOf(event) {
  if (event.key.length > 1) return event.key;
  const latin = event.key < "\x80" || !event.code.startsWith("Key");
  return (latin ? event.key : event.code.slice(3)).toLowerCase();
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]), select, textarea, dialog");
  const key = keyOf(event);
  const third = event.getModifierState("AltGraph"); // the third level of a keyboard, where some have [ and ]
  const control = (event.ctrlKey || event.metaKey) && !third;
  const actions = control
    ? {
        z: event.shiftKey ? redo : undo,
        y: redo,
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
        Escape: () => (state.job ? state.job.abort() : view.before ? compare(false) : notice("")),
        Enter: () => event.target.closest("button, a, summary, .menu") || complete(),
      };
  if (typing || (event.altKey && !third) || !(key in actions)) return;
  if (key === "Escape" && document.querySelector(":popover-open")) return; // which the browser closes
  if (["Delete", "Backspace"].includes(key) && event.target.closest(".menu")) return;
  if (key !== "Enter") event.preventDefault();
  if (state.mask?.tiles) return; // in the middle of a stroke
  actions[key]();
});

addEventListener("beforeunload", (event) => {
  if (steps.done.length) event.preventDefault();
});

// ---- start ------------------------------------------------------------------------------------------------

try {
  const [config] = await Promise.all([service.config(), fetchModels()]);
  state.limits = config.limits;
  $("#folder").hidden = !config.inputFolder;
  $("#store").hidden = !config.outputFolder;
  if (config.formats.includes("HEIC")) $("#photo-file").accept += ",.heic,.heif,.hif"; // else an iPhone gives a JPEG
  const where = text(LOOPBACK.test(location.hostname) ? "stay-here" : "go-there", location);
  $("#privacy").textContent = `${where} ${text(config.outputFolder ? "keeps-stored" : "keeps-nothing")}`;
} catch (error) {
  tell($("#welcome-error"), error);
}
document.body.dataset.ready = "true";
