// The album: photos and results as files. Few are kept decoded, for 40 megapixels take 160 MB; the others are decoded
// again when they are shown, and until then their thumbnail is.

import { notice } from "./panels.js";
import { decoded } from "./pictures.js";
import { view } from "./state.js";
import { text } from "./texts.js";

const THUMBNAIL = 512; // pixels: its longest side
export const most = { bytes: 400e6 }; // of pictures that are kept decoded, beside those on the screen

const kept = new Map(); // picture of a file; the one that was shown last stands last
let turn = Promise.resolve(); // one is decoded at a time

/** A page of the album: { blob, file, width, height, thumb }, where `file` is what the browser makes a picture of. */
export async function page(blob, signal) {
  const { picture, file } = await decoded(blob, signal);
  const { width, height } = picture;
  const scale = Math.min(1, THUMBNAIL / Math.max(width, height));
  const small = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const pen = small.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, small.width, small.height);
  keep(file, picture);
  return { blob, file, width, height, thumb: small.transferToImageBitmap() };
}

/** Draws a page, `draw(picture)`: at once, and again when it is decoded, if `wanted()` then. */
export function look({ file, thumb }, draw, wanted) {
  const picture = kept.get(file);
  draw(picture ?? thumb);
  if (picture) return keep(file, picture);
  turn = turn
    .then(async () => {
      if (!wanted()) return;
      const late = kept.get(file) ?? (await createImageBitmap(file));
      if (wanted()) draw(late);
      keep(file, late);
    })
    .catch(() => notice(text("not-decoded"), true));
}

/** Keeps a picture, and closes those that were not shown for longest where they get too many. */
function keep(file, picture) {
  kept.delete(file);
  kept.set(file, picture);
  const size = (one) => one.width * one.height * 4;
  let bytes = [...kept.values()].reduce((sum, one) => sum + size(one), 0);
  for (const [old, one] of kept) {
    if (bytes <= most.bytes) return;
    if (old === file || one === view.photo?.picture || one === view.before) continue;
    bytes -= size(one);
    one.close();
    kept.delete(old);
  }
}
