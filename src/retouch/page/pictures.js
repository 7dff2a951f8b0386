// What the browser draws of a file.

import * as service from "./service.js";
import { text } from "./texts.js";

const SIDE = 16384; // pixels: the longest side that browsers draw
const ALIKE = /^(\x89PNG|\xff\xd8|BM|RIFF....WEBP)/s; // files that the browser and the server read alike

/** What the browser draws of a file; the server helps with what the browser cannot read, or reads in its own way. */
export async function pictureOf(blob, signal) {
  const head = String.fromCharCode(...new Uint8Array(await blob.slice(0, 21).arrayBuffer()));
  const turned = head.startsWith("VP8X", 12) && head.charCodeAt(20) & 8; // browsers leave a WebP's EXIF out of account
  let picture = null;
  if (ALIKE.test(head) && !turned) picture = await createImageBitmap(blob).catch(() => null);
  picture ??= await createImageBitmap(await service.preview(blob, signal));
  if (Math.max(picture.width, picture.height) > SIDE) {
    throw new service.ServiceError(text("too-large-screen", { size: sizeOf(picture) }));
  }
  return picture;
}

export const sizeOf = (picture) => `${picture.width} × ${picture.height}`;
