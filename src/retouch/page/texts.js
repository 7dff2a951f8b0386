// Messages: the page's English stands in index.html, this file only finds it.

const texts = new Map(
  [...document.querySelector("#texts").content.querySelectorAll("[data-text]")].map((line) => [
    line.dataset.text,
    line.textContent,
  ]),
);

export const $ = (selector) => document.querySelector(selector);

/** Whether there is a message of a name. */
export const has = (name) => texts.has(name);

/** The message of a name, its {places} filled in. */
export function text(name, values = {}) {
  return texts.get(name).replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** Words as a sentence. */
export const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1).replace(/\.?$/, ".");

/** A new element: `make("button", { type: "button" }, child, "text")`. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick" || name === "onchange") element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
