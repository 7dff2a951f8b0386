// A job takes its time: meanwhile nothing else is changed, and Cancel ends it.

import { notice, working } from "./panels.js";
import { advice } from "./problems.js";
import { locked, refresh, state } from "./state.js";
import { $, text } from "./texts.js";

/** Does `work(signal)` unless something else is going on; `wrong(error)` says what fails. */
export async function job(message, work, wrong = (error) => notice(advice(error), true)) {
  if (locked()) return;
  const { signal } = (state.job = new AbortController());
  const focused = document.activeElement;
  refresh();
  working(text(message));
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) notice(text("cancelled"));
    else wrong(error);
  }
  working(null);
  state.job = null;
  refresh();
  if (document.activeElement === document.body) focused.focus({ preventScroll: true }); // it was disabled meanwhile
}

$("#cancel").onclick = () => state.job?.abort();
