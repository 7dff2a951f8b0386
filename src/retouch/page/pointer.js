// Mouse, pen, fingers and arrow keys on the photo: paint, outline, move, zoom.

/**
 * Connects a view with what is painted.
 *
 * `tools` has: tool ("brush", ...), size (screen pixels), ready() (whether one may paint), begin(),
 * stroke(points, width, erase), area(points), end(last step), undoCurrent(), resize(factor), say(text name),
 * divider (the range between before and after, which has the keys then) and divide(x), which moves it.
 */
export function listen(view, tools) {
  const { canvas } = view;
  const fingers = new Map(); // pointers that are down, by id: { x, y } on the canvas
  let mode = null; // "paint", "outline", "divide", "pan", "pinch"
  let last = null; // in photo pixels while painting, on the canvas while moving
  let space = false;
  let pen = null; // the brush of the keyboard: { x, y, down } on the canvas, and the step that its stroke is so far

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const width = () => tools.size / view.scale;
  const erasing = () => tools.tool === "eraser";
  const brushing = () => tools.tool === "brush" || erasing();

  function hover(point) {
    const shown = point && brushing() && tools.ready() && !space && mode !== "pan" && mode !== "pinch";
    view.cursor = shown ? { ...point, radius: tools.size / 2 } : null;
    canvas.classList.toggle("painting", Boolean(shown));
    canvas.classList.toggle("panning", space || mode === "pan");
    canvas.classList.toggle("dividing", Boolean(view.before));
    view.draw();
  }

  function start(point) {
    tools.begin();
    last = view.at(point.x, point.y);
    if (brushing()) {
      mode = "paint";
      tools.stroke([last], width(), erasing());
    } else {
      mode = "outline";
      view.outline = [last];
    }
  }

  function finish() {
    if (mode === "outline" && view.outline.length > 2) tools.area(view.outline);
    if (mode === "paint" || mode === "outline") tools.end();
    view.outline = [];
    mode = null;
    view.draw();
  }

  function abandon() {
    if (mode === "paint" || mode === "outline") tools.undoCurrent();
    view.outline = [];
    mode = null;
    view.draw();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!view.photo) return;
    (view.before ? tools.divider : canvas).focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    const point = place(event);
    fingers.set(event.pointerId, point);
    pen = null;
    if (fingers.size === 2) {
      abandon(); // the first finger began to paint before the second one came
      mode = "pinch";
    } else if (fingers.size === 1) {
      if (event.button === 1 || (event.button === 0 && space)) {
        mode = "pan";
        last = point;
      } else if (event.button === 0 && tools.ready()) {
        start(point);
      } else if (event.button === 0 && view.before) {
        mode = "divide";
        tools.divide(point.x);
      }
    }
    hover(event.pointerType === "touch" ? null : point);
    event.preventDefault();
  });

  canvas.addEventListener("pointermove", (event) => {
    const point = place(event);
    if (!fingers.has(event.pointerId)) {
      hover(point);
      return;
    }
    if (mode === "pinch") pinch(event.pointerId, point);
    fingers.set(event.pointerId, point);
    if (mode === "pan") {
      view.pan(point.x - last.x, point.y - last.y);
      last = point;
    } else if (mode === "divide") {
      tools.divide(point.x);
    } else if (mode === "paint") {
      const all = event.getCoalescedEvents?.() ?? [];
      const points = (all.length ? all : [event]).map((one) => {
        const { x, y } = place(one);
        return view.at(x, y);
      });
      tools.stroke([last, ...points], width(), erasing());
      last = points.at(-1);
    } else if (mode === "outline") {
      const here = view.at(point.x, point.y);
      if (tools.tool === "rectangle") {
        view.outline = [last, { x: here.x, y: last.y }, here, { x: last.x, y: here.y }];
      } else {
        view.outline.push(here);
      }
    }
    hover(event.pointerType === "touch" ? null : point);
  });

  function pinch(id, point) {
    const [other] = [...fingers].filter(([key]) => key !== id).map(([, value]) => value);
    const before = fingers.get(id);
    if (!other) return;
    const distance = (a, b) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    view.pan((point.x - before.x) / 2, (point.y - before.y) / 2);
    view.zoom(distance(point, other) / distance(before, other), (point.x + other.x) / 2, (point.y + other.y) / 2);
  }

  function up(event) {
    if (!fingers.delete(event.pointerId)) return;
    if (mode === "pinch") {
      if (fingers.size === 0) mode = null; // the finger that stays does not paint
    } else if (event.type === "pointercancel") {
      abandon();
    } else {
      finish();
    }
    hover(event.pointerType === "touch" ? null : place(event));
  }
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("lostpointercapture", up); // as where a dialog opens
  canvas.addEventListener("pointerleave", () => fingers.size || hover(null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());

  canvas.parentElement.addEventListener(
    "wheel",
    (event) => {
      if (!view.photo || event.target.closest(".float, .welcome")) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      if (!event.deltaY) return view.pan(-lines * event.deltaX, 0);
      const step = Math.exp((-lines * event.deltaY) / (event.ctrlKey ? 120 : 500));
      const point = place(event);
      if (event.altKey) {
        tools.resize(step);
        hover(point);
      } else {
        view.zoom(step, point.x, point.y);
      }
    },
    { passive: false },
  );

  // ---- keys -------------------------------------------------------------------------------------------------

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !view.photo) return;
    if (event.key in STEPS && tools.ready() && !mode) {
      const [dx, dy] = STEPS[event.key];
      const step = event.shiftKey ? 40 : 8;
      pen ??= { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2, down: false };
      const from = view.at(pen.x, pen.y);
      pen.x = Math.min(canvas.clientWidth, Math.max(0, pen.x + dx * step));
      pen.y = Math.min(canvas.clientHeight, Math.max(0, pen.y + dy * step));
      if (pen.down && brushing()) dab(from);
      hover(pen);
      event.preventDefault();
    } else if ((event.code === "KeyD" || event.key === "d") && tools.ready() && !mode && brushing()) {
      pen ??= { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2, down: false };
      pen.down = !pen.down;
      pen.step = null;
      if (pen.down) dab(view.at(pen.x, pen.y));
      tools.say(pen.down ? "pen-down" : "pen-up");
      hover(pen);
    }
  });

  function dab(from) {
    tools.begin();
    tools.stroke([from, view.at(pen.x, pen.y)], width(), erasing());
    pen.step = tools.end(pen.step);
  }

  addEventListener("keydown", (event) => {
    if (event.code !== "Space" || !view.photo || event.target.closest("input:not([type=range]), select, dialog, .menu")) return;
    space = true;
    hover(null);
    if (event.target === canvas) event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (event.code !== "Space") return;
    space = false;
    hover(null);
  });
  addEventListener("blur", () => (space = false));

  const middle = () => ({ x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 });
  return {
    refresh: () => hover(pen ?? (view.cursor && { x: view.cursor.x, y: view.cursor.y })),
    sample: (on) => view.photo && hover(on ? middle() : null), // shows how large the brush is
  };
}
