// What was completed in a version of a lossy photo: a layer to lay over the photo as it was opened.
//
// A version keeps what it came `from` and the `hole` (PNG, white on black) that was filled for it; its layer is made
// when the next fill asks for it. No pixel is blended: alpha is 0 or 255, so that no canvas changes a colour.

import { pictureOf, pngOf } from "./pictures.js";

/** A PNG of the photo's size, opaque where a version was completed; null for the photo as it was opened. */
export async function layerOf(version, signal) {
  if (!version.hole) return null;
  return (version.layer ??= await made(version, signal));
}

async function made(version, signal) {
  const raw = (blob) => pictureOf(blob, signal, true);
  const before = await layerOf(version.from, signal);
  const files = [version.blob, version.hole, before];
  const [result, hole, under] = await Promise.all(files.map((blob) => blob && raw(blob)));
  const { width, height } = result;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  if (under) pen.drawImage(under, 0, 0);
  const rows = Math.max(1, Math.floor(4e6 / width)); // in memory at a time
  for (let top = 0; top < height; top += rows) {
    const band = { width, height: Math.min(rows, height - top) };
    const [colours, white] = [result, hole].map((picture) => pixelsOf(picture, top, band));
    for (let i = 0; i < colours.data.length; i += 4) {
      // What is seen through entirely has no colour on a canvas, and stays the photo's.
      colours.data[i + 3] = white.data[i] >= 128 && colours.data[i + 3] ? 255 : 0;
    }
    const strip = await createImageBitmap(colours);
    pen.drawImage(strip, 0, top);
    strip.close();
  }
  for (const picture of [result, hole, under]) picture?.close();
  return pngOf(canvas);
}

function pixelsOf(picture, top, { width, height }) {
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, -top);
  return pen.getImageData(0, 0, width, height);
}
