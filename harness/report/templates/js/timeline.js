// The phases of a cell on one axis of time.
function timeline(phases) {
  if (!phases.length) return null;
  const total = Math.max(...phases.map(([, begin, length]) => begin + length)) || 1;
  const percent = (part) => `${(100 * part / total).toFixed(2)}%`;
  return h("ol", { class: "phases" }, phases.map(([name, begin, length]) => h("li", null, h("span", null, name),
    h("span", { class: "track", "aria-hidden": "true" }, h("i", { style: { left: percent(begin), width: percent(length) } })),
    h("span", { class: "num" }, seconds(length)))));
}
