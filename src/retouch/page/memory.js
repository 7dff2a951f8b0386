// What this browser remembers from visit to visit. Where it may not, as in some private windows, it forgets.

const KEY = "retouch-";

/** What was kept under a name, or null. */
export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(KEY + name));
  } catch {
    return null;
  }
}

/** Keeps a value of JSON under a name. */
export function keep(name, value) {
  try {
    localStorage.setItem(KEY + name, JSON.stringify(value));
  } catch {
    // it is full or locked: nothing depends on it
  }
}
