// The mask: a canvas of the photo's size, painted where the photo is to be filled.
//
// What a stroke changes is kept as the tiles that it touches, so that undo costs what was drawn and not what the
// photo measures. Tiles are bitmaps: nothing is read back from the graphics card, and nothing else is held. (A canvas that
// is drawn on keeps what is drawn, here all of the mask as it was, until someone looks at it.)

import { pngOf } from "./pictures.js";

const TILE = 256;
const COLOUR = "#f0406f";

export class Mask {
  constructor(width, height) {
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d");
    this.inked = new Set(); // tiles where something may be painted
    this.known = true; // what is known of its being empty: true, false, or null where one has to look
    this.tiles = null;
  }

  get width() {
    return this.canvas.width;
  }

  get height() {
    return this.canvas.height;
  }

  /** Whether nothing is painted. */
  get empty() {
    return (this.known ??= this.#blank());
  }

  #blank() {
    for (const { pen, top, height } of this.#bands()) {
      pen.drawImage(this.canvas, 0, -top);
      const { data } = pen.getImageData(0, 0, this.width, height);
      for (let i = 3; i < data.length; i += 4) if (data[i] > 127) return false;
    }
    return true;
  }

  /** Empty canvases that cover the mask from top to bottom, one at a time in memory. */
  *#bands() {
    const rows = Math.max(1, Math.floor(4e6 / this.width));
    for (let top = 0; top < this.height; top += rows) {
      const height = Math.min(rows, this.height - top);
      const band = new OffscreenCanvas(this.width, height);
      yield { band, pen: band.getContext("2d", { willReadFrequently: true }), top, height };
    }
  }

  /** Starts a change; `end` gives what undoes it. */
  begin() {
    this.tiles = new Map();
    this.before = { known: this.known, inked: new Set(this.inked) };
  }

  /** Keeps what a rectangle in photo pixels is about to lose. */
  #touch(left, top, right, bottom) {
    const first = (value) => Math.max(0, Math.floor(value / TILE));
    for (let y = first(top); y * TILE < Math.min(bottom, this.height); y++) {
      for (let x = first(left); x * TILE < Math.min(right, this.width); x++) this.#touchTile(x, y);
    }
  }

  #touchTile(x, y) {
    const key = `${x},${y}`;
    if (!this.tiles.has(key)) this.tiles.set(key, this.#copy(x * TILE, y * TILE));
    this.inked.add(key);
  }

  #copy(x, y) {
    const tile = new OffscreenCanvas(Math.min(TILE, this.width - x), Math.min(TILE, this.height - y));
    tile.getContext("2d").drawImage(this.canvas, -x, -y);
    return { x, y, tile: tile.transferToImageBitmap() };
  }

  /** Ends a change: { bytes, swap }, where `swap` undoes it and, called again, does it anew. */
  end() {
    const patch = { tiles: [...this.tiles.values()], ...this.before };
    this.tiles = null;
    const swap = () => {
      const { known, inked } = this;
      this.context.globalCompositeOperation = "source-over"; // whatever was drawn last
      // All are copied before any is drawn: a canvas that changes between two copies is kept as a whole for each.
      const now = patch.tiles.map(({ x, y }) => this.#copy(x, y));
      for (const { x, y, tile } of patch.tiles) {
        this.context.clearRect(x, y, tile.width, tile.height);
        this.context.drawImage(tile, x, y);
      }
      patch.tiles = now;
      Object.assign(this, { known: patch.known, inked: patch.inked });
      Object.assign(patch, { known, inked });
    };
    return { bytes: patch.tiles.length * TILE * TILE * 4, swap };
  }

  /** A piece of a stroke through some points, `width` photo pixels wide. */
  stroke(points, width, erase) {
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    const r = width / 2 + 2;
    this.#touch(Math.min(...xs) - r, Math.min(...ys) - r, Math.max(...xs) + r, Math.max(...ys) + r);
    const pen = this.#pen(erase);
    pen.lineWidth = width;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.arc(points[0].x, points[0].y, width / 2, 0, 2 * Math.PI); // a dot, which a line of no length is not
    pen.fill();
    pen.beginPath();
    for (const point of points) pen.lineTo(point.x, point.y);
    pen.stroke();
  }

  /** A filled outline. */
  area(points) {
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    this.#touch(Math.min(...xs) - 1, Math.min(...ys) - 1, Math.max(...xs) + 1, Math.max(...ys) + 1);
    const pen = this.#pen(false);
    pen.beginPath();
    for (const point of points) pen.lineTo(point.x, point.y);
    pen.fill();
  }

  #pen(erase) {
    this.context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    this.context.fillStyle = this.context.strokeStyle = COLOUR;
    this.known = null;
    return this.context;
  }

  clear() {
    for (const key of this.inked) this.#touchTile(...key.split(",").map(Number));
    this.context.clearRect(0, 0, this.width, this.height);
    this.inked = new Set();
    this.known = true;
  }

  invert() {
    this.#touch(0, 0, this.width, this.height);
    this.context.globalCompositeOperation = "xor";
    this.context.fillStyle = COLOUR;
    this.context.fillRect(0, 0, this.width, this.height);
    this.known = null;
  }

  /** Takes over a picture of the same size: white is painted. */
  load(picture) {
    this.clear();
    const across = Math.ceil(this.width / TILE);
    for (const { band, pen, top, height } of this.#bands()) {
      pen.fillStyle = "black"; // what is transparent is not white
      pen.fillRect(0, 0, this.width, height);
      pen.drawImage(picture, 0, -top);
      const pixels = pen.getImageData(0, 0, this.width, height);
      const data = pixels.data;
      const white = new Uint8Array(across * Math.ceil(this.height / TILE)); // tiles that have some
      for (let i = 0, x = 0, y = top; i < data.length; i += 4) {
        const is = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2] >= 127.5;
        data[i + 3] = is ? 255 : 0;
        if (is) white[across * Math.floor(y / TILE) + Math.floor(x / TILE)] = 1;
        if (++x === this.width) [x, y] = [0, y + 1];
      }
      white.forEach((is, i) => is && this.#touchTile(i % across, Math.floor(i / across)));
      pen.putImageData(pixels, 0, 0);
      pen.globalCompositeOperation = "source-in";
      pen.fillStyle = COLOUR;
      pen.fillRect(0, 0, this.width, height);
      this.context.globalCompositeOperation = "source-over";
      this.context.drawImage(band, 0, top);
    }
    this.known = null;
  }

  /** As a PNG file, white on black. */
  async png() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const pen = canvas.getContext("2d");
    pen.drawImage(this.canvas, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = "white";
    pen.fillRect(0, 0, this.width, this.height);
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = "black";
    pen.fillRect(0, 0, this.width, this.height);
    return pngOf(canvas);
  }
}
