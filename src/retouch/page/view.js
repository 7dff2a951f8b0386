// The view: where the photo lies on the screen, and what is drawn there.

const LARGEST = 32; // screen pixels to a photo pixel
const MARGIN = 24; // around the photo
const GAP = 10; // beside what floats

export class View {
  /** `floats` lie over the canvas, along its sides. */
  constructor(canvas, floats) {
    this.canvas = canvas;
    this.floats = floats;
    this.context = canvas.getContext("2d", { alpha: false });
    this.photo = null; // { picture, width, height }: what is shown, anything that drawImage takes, and the photo's size
    this.before = null; // while comparing: a picture of what it was
    this.divide = 0.5; // of the canvas' width
    this.mask = null;
    this.outline = []; // of a rectangle or lasso that is being drawn, in photo pixels
    this.cursor = null; // of the brush: { x, y, radius } in screen pixels
    this.scale = 1; // screen (CSS) pixels to a photo pixel
    this.ratio = devicePixelRatio; // the screen's own pixels to one of CSS
    this.x = this.y = 0; // of the photo's corner
    this.fitted = true;
    this.onzoom = () => {};
    this.frame = 0;
    new ResizeObserver(() => this.#resized()).observe(canvas);
    const beside = new ResizeObserver(() => this.fitted && this.fit());
    for (const float of floats) beside.observe(float); // also where one comes or goes
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Shows a picture as large as its photo is, which may be larger. */
  show(picture, { width, height }) {
    const same = this.photo && this.photo.width === width && this.photo.height === height;
    this.photo = { picture, width, height };
    if (same) this.draw();
    else this.fit();
  }

  /** Photo pixels of a place on the canvas. */
  at(x, y) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  fit() {
    if (!this.photo) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { left, right, top, bottom } = this.#sides();
    this.fitted = true;
    const room = [(width - left - right) / this.photo.width, (height - top - bottom) / this.photo.height];
    this.scale = Math.max(1e-3, Math.min(...room, 8));
    // In the middle, unless something floats there.
    const middle = (all, before, after, size) => Math.max(before, Math.min(all - after - size, (all - size) / 2));
    this.x = middle(width, left, right, this.photo.width * this.scale);
    this.y = middle(height, top, bottom, this.photo.height * this.scale);
    this.#moved();
  }

  /** How much of each side is no place for the photo: a margin, or what floats there. */
  #sides() {
    const all = this.canvas.getBoundingClientRect();
    const margin = Math.min(MARGIN, all.width / 20);
    const sides = { left: margin, right: margin, top: margin, bottom: margin };
    const take = (side, pixels) => (sides[side] = Math.max(sides[side], pixels + GAP));
    for (const float of this.floats) {
      const box = float.getBoundingClientRect();
      if (!box.width || getComputedStyle(float).position !== "absolute") continue; // hidden, or below the canvas
      const from = { left: box.right - all.left, right: all.right - box.left, top: box.bottom - all.top, bottom: all.bottom - box.top };
      const [one, other] = box.height > box.width ? ["left", "right"] : ["top", "bottom"];
      const side = from[one] < from[other] ? one : other;
      take(side, from[side]);
    }
    return sides;
  }

  /** Zooms so that what lies under (x, y) stays there. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.photo) return;
    const least = Math.min(0.02, this.scale);
    const scale = Math.min(LARGEST, Math.max(least, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#moved();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#moved();
  }

  /** Keeps some of the photo in sight. */
  #moved() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const keep = 48;
    this.x = Math.min(width - keep, Math.max(keep - this.photo.width * this.scale, this.x));
    this.y = Math.min(height - keep, Math.max(keep - this.photo.height * this.scale, this.y));
    this.onzoom(this.scale);
    this.draw();
  }

  #resized() {
    this.ratio = devicePixelRatio;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * this.ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * this.ratio));
    if (!this.photo) return;
    if (this.fitted) this.fit();
    else this.#moved();
    this.#paint(); // at once: a resized canvas is blank
  }

  /** Draws with the next frame. */
  draw() {
    this.frame ||= requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { context: pen, ratio } = this;
    if (ratio !== devicePixelRatio) return this.#resized(); // the window is on another screen now
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = getComputedStyle(this.canvas.parentElement).backgroundColor;
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.photo) return;
    pen.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
    pen.imageSmoothingEnabled = this.scale * ratio < 3; // closer, pixels are pixels
    pen.imageSmoothingQuality = "high";
    this.#paintPicture(pen, this.photo.picture);
    if (this.before) this.#paintBefore(pen);
    else this.#paintMask(pen);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.cursor && !this.before) {
      for (const [colour, width] of [["rgb(0 0 0 / .65)", 3], ["white", 1.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.beginPath();
        pen.arc(this.cursor.x, this.cursor.y, Math.max(2, this.cursor.radius), 0, 7);
        pen.stroke();
      }
    }
  }

  #paintPicture(pen, picture) {
    pen.drawImage(picture, 0, 0, this.photo.width, this.photo.height);
  }

  #paintMask(pen) {
    pen.globalAlpha = 0.6;
    if (this.mask) pen.drawImage(this.mask, 0, 0);
    pen.globalAlpha = 1;
    if (this.outline.length < 2) return;
    pen.beginPath();
    for (const point of this.outline) pen.lineTo(point.x, point.y);
    pen.closePath();
    pen.fillStyle = "rgb(240 64 111 / .35)";
    pen.fill();
    pen.lineWidth = 1.5 / this.scale;
    pen.strokeStyle = "#f0406f";
    pen.stroke();
  }

  #paintBefore(pen) {
    const line = this.divide * this.canvas.clientWidth;
    const edge = Math.min(this.photo.width, Math.max(0, this.at(line, 0).x));
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, edge, this.photo.height);
    pen.clip();
    this.#paintPicture(pen, this.before);
    pen.restore();
    pen.fillStyle = "white";
    pen.fillRect(this.at(line, 0).x - 1 / this.scale, 0, 2 / this.scale, this.photo.height);
  }
}
