// The service, as the page uses it. What goes wrong is thrown as a ServiceError: with a code,
// it has the service's words (see problems.js); without, the page's own.

import { $, text } from "./texts.js";

const KEY = "retouch-token";

export class ServiceError extends Error {
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }
}

// The command prints an address with #token=...: browsers send no server what stands behind the #.
const fragment = new URLSearchParams(location.hash.slice(1));
if (fragment.has("token")) {
  keep(fragment.get("token"));
  history.replaceState(null, "", location.pathname);
}

/** Keeps a token for this tab, and says whether it did: what no server takes could not even be sent. */
function keep(token) {
  const right = /^[ -~]+$/.test(token);
  if (right) sessionStorage.setItem(KEY, token);
  return right;
}

// What comes from a proxy before the service has no code.
const PROXY = { 408: "too_slow", 413: "too_many_bytes", 429: "busy", 502: "stopping", 503: "overloaded", 504: "too_long" };

let asking = null;

/** Asks for the token; resolves when it was given. Calls that fail together ask once. */
function askForToken(again) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#token");
    const wrong = (is) => ($("#token-error").textContent = is ? text("wrong-token") : "");
    $("#token-form").onsubmit = (event) => {
      const right = keep($("#token-text").value.trim());
      $("#token-text").value = "";
      wrong(!right);
      if (!right) return event.preventDefault();
      asking = null;
      resolve();
    };
    dialog.onclose = () => asking && dialog.showModal(); // Escape is no answer
    dialog.showModal();
    wrong(again);
  });
  return asking;
}

async function call(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServiceError(text("unreachable"));
    }
    if (response.status === 401) {
      // Another call may have got a new token while this one was under way.
      if (token === sessionStorage.getItem(KEY)) await askForToken(Boolean(token));
      continue;
    }
    if (response.ok) return response;
    const { status, statusText } = response;
    const { error, detail } = await response.json().catch(() => ({}));
    throw new ServiceError(detail ?? `${status} ${statusText}`, error ?? PROXY[status] ?? "failed");
  }
}

const asJson = async (path) => (await call(path)).json();

export const models = () => asJson("api/v1/models");
export const config = () => asJson("api/v1/server-config");
export const photos = () => asJson("api/v1/photos");
export const photo = async (name, signal) => (await call(`api/v1/photos/${encodeURIComponent(name)}`, { signal })).blob();
export const thumbnail = async (name, signal) =>
  (await call(`api/v1/photos/${encodeURIComponent(name)}/thumbnail`, { signal })).blob();
export const store = (name, blob, signal) =>
  call(`api/v1/outputs/${encodeURIComponent(name)}`, { method: "PUT", body: blob, signal });
export const preview = async (blob, signal) =>
  (await call("api/v1/preview", { method: "POST", body: blob, signal })).blob();

/** A mask (PNG), grown, shrunk or inverted by the server. */
export async function adjusted(mask, operate, pixels, signal) {
  const bytes = new Uint8Array(await mask.arrayBuffer());
  let binary = "";
  for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  const body = JSON.stringify({ mask: btoa(binary), operate, kernel_size: pixels });
  const headers = { "Content-Type": "application/json" };
  return (await call("api/v1/adjust_mask", { method: "POST", headers, body, signal })).blob();
}

/**
 * Completes a photo; `filled` is a layer of what was completed before, or null. Aborting the signal closes the
 * connection, which ends the work on the server.
 * Returns { blobs, seconds, model, notes }; `progress(done, total)` is called when all is sent, with (0, 0), and on
 * the way.
 */
export async function complete(photo, mask, filled, options, progress, signal) {
  const form = new FormData();
  form.append("image", photo, "photo");
  form.append("mask", mask, "mask.png");
  if (filled) form.append("filled", filled, "filled.png");
  for (const [name, value] of Object.entries(options)) form.append(name, value);
  const headers = { Accept: "text/event-stream" };
  const response = await call("api/v1/inpaint", { method: "POST", headers, body: form, signal });
  for await (const { event, data } of events(response.body)) {
    if (event === "progress") progress(data.done, data.total);
    if (event === "error") throw new ServiceError(data.detail, data.error);
    if (event === "result") {
      return {
        blobs: data.images.map(blobOf),
        seconds: data.elapsed_ms / 1000,
        model: data.model,
        notes: data.notes,
      };
    }
  }
  throw new ServiceError(text("unreachable"));
}

/** The events of a stream: lines `event: NAME` and `data: JSON`, a blank line after each event. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let parts = [];
  for (;;) {
    let step;
    try {
      step = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServiceError(text("unreachable"));
    }
    if (step.done) return;
    // A result is long and comes in many pieces: they are joined once, when its end is there.
    parts.push(step.value);
    if (!step.value.includes("\n")) continue;
    const blocks = parts.join("").split("\n\n");
    parts = [blocks.pop()];
    for (const block of blocks) {
      const event = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.event = line.slice(7);
        if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      if (event.data) yield { event: event.event, data: JSON.parse(event.data) };
    }
  }
}

function blobOf(url) {
  const [head, base64] = url.split(",");
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
