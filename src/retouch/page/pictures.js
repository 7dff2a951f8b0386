// What the browser draws of a file.

import * as service from "./service.js";
import { text } from "./texts.js";

const SIDE = 16384; // pixels: the longest side that browsers draw
const ALIKE = /^(\x89PNG|\xff\xd8|BM|RIFF....WEBP)/s; // files that the browser and the server read alike

const KINDS = [
  // how a file begins, and the suffixes that such a file may have, the usual one first
  [/^\x89PNG/, ["png"]],
  [/^\xff\xd8/, ["jpg", "jpeg", "jpe", "jfif"]],
  [/^RIFF....WEBP/s, ["webp"]],
  [/^(II[*+]\0|MM\0[*+])/, ["tif", "tiff"]],
  [/^BM/, ["bmp", "dib"]],
  [/^....ftyp/s, ["heic", "heif", "hif", "avif"]], // of these the server makes PNG
];

const headOf = async (blob) => String.fromCharCode(...new Uint8Array(await blob.slice(0, 21).arrayBuffer()));

/** The suffix of a file by what it is: its own, unless that means something else. */
export async function suffixOf(blob, own = "") {
  const head = await headOf(blob);
  const [, suffixes] = KINDS.find(([begins]) => begins.test(head));
  return suffixes.includes(own.toLowerCase()) ? own : suffixes[0];
}

/** Whether a file loses something each time that it is encoded: a JPEG, or a WebP that is not lossless throughout. */
export const lossy = async (blob) => /^(\xff\xd8|RIFF....WEBPVP8[^L])/s.test(await headOf(blob));

/**
 * What the browser draws of a file, { picture, file }; the server helps with what the browser cannot read, or reads in
 * its own way, and `file` is what it makes of that. With `raw`, the values as they are stored, whatever colours the
 * file says that they are.
 */
export async function decoded(blob, signal, raw = false) {
  const how = { colorSpaceConversion: raw ? "none" : "default" };
  const head = await headOf(blob);
  const turned = head.startsWith("VP8X", 12) && head.charCodeAt(20) & 8; // browsers leave a WebP's EXIF out of account
  let [picture, file] = [null, blob];
  if (ALIKE.test(head) && !turned) picture = await createImageBitmap(blob, how).catch(() => null);
  if (!picture) {
    file = await service.preview(blob, signal);
    picture = await createImageBitmap(file, how);
  }
  if (Math.max(picture.width, picture.height) > SIDE) {
    const size = sizeOf(picture); // which is gone when it is closed
    picture.close();
    throw new service.ServiceError(text("too-large-screen", { size }));
  }
  return { picture, file };
}

/** The picture alone, to be closed after use. */
export const pictureOf = async (...all) => (await decoded(...all)).picture;

/**
 * Whether a picture is black and white, as masks are: no colour, some white, some black, and of its pixels no more than
 * a share `grey`, as along edges.
 */
export function blackAndWhite(picture, grey) {
  const { width, height } = picture;
  const rows = Math.max(1, Math.floor(4e6 / width));
  const pen = new OffscreenCanvas(width, Math.min(rows, height)).getContext("2d", { willReadFrequently: true });
  let [white, black, others] = [0, 0, 0];
  for (let top = 0; top < height; top += rows) {
    pen.fillStyle = "black"; // what is transparent is not white
    pen.fillRect(0, 0, width, rows);
    pen.drawImage(picture, 0, -top);
    const { data } = pen.getImageData(0, 0, width, Math.min(rows, height - top));
    for (let i = 0; i < data.length; i += 4) {
      const [red, green, blue] = [data[i], data[i + 1], data[i + 2]];
      if (Math.max(red, green, blue) - Math.min(red, green, blue) > 8) return false;
      if (green > 239) white++;
      else if (green < 16) black++;
      else if (++others > grey * width * height) return false;
    }
  }
  return white > 0 && black > 0;
}

/** The PNG file of a canvas, which is given up: browsers come late to free large ones. */
export async function pngOf(canvas) {
  const blob = await canvas.convertToBlob({ type: "image/png" });
  canvas.width = canvas.height = 0;
  return blob;
}

export const sizeOf = (picture) => `${picture.width} × ${picture.height}`;
