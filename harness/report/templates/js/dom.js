// Elements are made here and nowhere else. Text only ever becomes a text node or an attribute that cannot run.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false && child !== "") element.append(child);
  }
  return element;
}

function decorate(element, attributes) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

const h = (tag, attributes, ...children) => fill(decorate(document.createElement(tag), attributes), children);
const svg = (tag, attributes, ...children) => fill(decorate(document.createElementNS(SVG, tag), attributes), children);
const byId = (id) => document.getElementById(id);
const hidden = (text) => h("span", { class: "vh" }, text);

// An id that may break into lines behind its parts.
const breakable = (text) => text.split(/(?<=-)/).flatMap((part) => [part, h("wbr")]);

const seconds = (value) => {
  if (value < 1) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
};
const bytes = (value) => {
  if (value < 1024) return `${value} B`;
  return value < 1 << 20 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / (1 << 20)).toFixed(1)} MiB`;
};
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

const chip = ([symbol, text, style, meaning]) =>
  h("span", { class: `chip ${style}`, title: meaning }, h("span", { class: "sym", "aria-hidden": "true" }, symbol), text);

function table(caption, head, rows, attributes) {
  const cells = (row) => row.map((cell, index) => index ? h("td", { "data-label": head[index] }, cell) : h("th", { scope: "row" }, cell));
  return h("table", attributes, h("caption", { class: "vh" }, caption),
    h("thead", null, h("tr", null, head.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", null, rows.map((row) => h("tr", null, cells(row)))));
}

const pairs = (entries) => h("table", { class: "kv" }, h("tbody", null, entries.map(([key, value, style]) =>
  h("tr", null, h("th", { scope: "row" }, key.replaceAll("_", " ")), h("td", style ? { class: style } : null, value)))));

const box = (text) => h("pre", { tabindex: "0" }, text);
