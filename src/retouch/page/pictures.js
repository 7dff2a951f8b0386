// What the browser draws of a file.

import * as service from "./service.js";
import { text } from "./texts.js";

const SIDE = 16384; // pixels: the longest side that browsers draw
const ALIKE = /^(\x89PNG|\xff\xd8|BM|RIFF....WEBP)/s; // files that the browser and the server read alike

const headOf = async (blob) => String.fromCharCode(...new Uint8Array(await blob.slice(0, 21).arrayBuffer()));

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
    picture.close();
    throw new service.ServiceError(text("too-large-screen", { size: sizeOf(picture) }));
  }
  return { picture, file };
}

/** The picture alone, to be closed after use. */
export const pictureOf = async (...all) => (await decoded(...all)).picture;

export const sizeOf = (picture) => `${picture.width} × ${picture.height}`;
