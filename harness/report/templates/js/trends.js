// What earlier runs say, as plots with the same figures in a table. `run.history` is null where nothing is known.
const past = run.history?.runs ? run.history : null;
const day = (text) => new Date(text).toISOString().slice(0, 16).replace("T", " ");
const STYLE_OF_VERDICT = (verdict) => run.words.verdicts[verdict]?.[2] ?? "plain";
const VERDICT_ORDER = Object.keys(run.words.verdicts);

function showTrends(state, view) {
  if (!past) {
    return void view.append(h("section", null, h("h2", { tabindex: "-1" }, "Trends"),
      h("p", null, run.history?.trouble ?? "No other runs were known when this page was written.")));
  }
  view.append(
    h("section", null, h("h2", { tabindex: "-1" }, "Trends"), h("p", { class: "muted" }, `${count(past.runs.length, "run")} of ${run.name}, the oldest on the left; this one is the last.`),
      h("h3", null, "Verdicts of cells"), verdictPlot(past.runs), verdictKey(past.runs),
      h("h3", null, "Results violated or not judged"), linePlot(past.runs.map((one) => one.counts.fail + one.counts.error), String, "Results violated or not judged, by run"),
      h("h3", null, "Duration of the run"), linePlot(past.runs.map((one) => one.duration_s), seconds, "Duration by run"),
      h("details", null, h("summary", null, "The same as a table"), h("div", { class: "wide" }, runTable(past.runs)))),
    h("section", null, h("h3", null, "Results that come and go"), flakyTable(past)),
    h("section", null, h("h3", null, "Slowest cells"), slowTable(past)));
  for (const plot of view.querySelectorAll(".plot")) toLatest(plot);
}

const FRAME = { width: 900, height: 150, left: 92, bottom: 22, top: 8 };

// Where there is no room for all runs: the latest, and no further, as a few runs do not fill a plot.
function toLatest(plot) {
  plot.scrollLeft = Math.ceil(plot.dataset.end / FRAME.width * plot.scrollWidth) - plot.clientWidth;
}

function frame(title, end, ...children) {
  return h("div", { class: "plot", "data-end": end }, svg("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, role: "img", "aria-label": title }, ...children));
}

function verdictPlot(runs) {
  const most = Math.max(1, ...runs.map((one) => one.cells)), wide = FRAME.width - FRAME.left, high = FRAME.height - FRAME.bottom - FRAME.top;
  const step = wide / Math.max(runs.length, 8);
  const bars = runs.map((one, index) => {
    let top = FRAME.height - FRAME.bottom;
    return VERDICT_ORDER.filter((verdict) => one.verdicts[verdict]).map((verdict) => {
      const tall = high * one.verdicts[verdict] / most;
      top -= tall;
      return svg("rect", { class: `area ${STYLE_OF_VERDICT(verdict)}`, x: FRAME.left + index * step + 2, y: top, width: Math.max(2, step - 4), height: tall },
        svg("title", null, `${day(one.started)}: ${one.verdicts[verdict]} ${verdict}`));
    });
  });
  return frame("Cells by verdict in each run; the table below has the figures", FRAME.left + runs.length * step, axis(0, most, String), bars);
}

const verdictKey = (runs) => h("ul", { class: "plain key" }, VERDICT_ORDER.filter((verdict) => runs.some((one) => one.verdicts[verdict])).map((verdict) =>
  h("li", null, chip(run.words.verdicts[verdict]))));

function axis(low, high, text) {
  const y = (number) => FRAME.height - FRAME.bottom - (FRAME.height - FRAME.bottom - FRAME.top) * (number - low) / (high - low || 1);
  const middle = (low + high) / 2; // of things that are counted, none is a half
  return [low, ...(text === String && !Number.isInteger(middle) ? [] : [middle]), high].map((number) => [
    svg("line", { class: "rule", x1: FRAME.left, x2: FRAME.width, y1: y(number), y2: y(number) }),
    svg("text", { class: "tick", x: FRAME.left - 8, y: y(number) + 4, "text-anchor": "end" }, text(number)),
  ]);
}

// A line through all values that are there; a gap where one is not.
function linePlot(values, text, title) {
  const known = values.filter((one) => one !== null && one !== undefined);
  const most = Math.max(1e-9, ...known) * 1.05, high = text === String ? 2 * Math.ceil(most / 2) : most, wide = FRAME.width - FRAME.left, tall = FRAME.height - FRAME.bottom - FRAME.top;
  const step = wide / Math.max(values.length, 8);
  const x = (index) => FRAME.left + (index + 0.5) * step, y = (number) => FRAME.height - FRAME.bottom - tall * number / high;
  let path = "", gap = true;
  values.forEach((one, index) => {
    if (one === null || one === undefined) { gap = true; return; }
    path += `${gap ? "M" : "L"}${x(index).toFixed(1)} ${y(one).toFixed(1)}`;
    gap = false;
  });
  return frame(title, FRAME.left + values.length * step, axis(0, high, text), svg("path", { class: "line", d: path }),
    values.map((one, index) => one === null || one === undefined ? null
      : svg("circle", { class: "dot", cx: x(index), cy: y(one), r: 3.5 }, svg("title", null, `${day(past.runs[index].started)}: ${text(one)}`))));
}

const runTable = (runs) => table("Runs", ["Run", "Exit code", "Cells", "Violated", "Not judged", "Duration"], [...runs].reverse().map((one) =>
  [day(one.started), String(one.exit_code), String(one.cells), String(one.counts.fail), String(one.counts.error), seconds(one.duration_s)]), { class: "figures-table" });

function flakyTable(history) {
  if (!history.flaky.length) return h("p", { class: "muted" }, "None: on the same ground, results were the same in every run.");
  const sign = (outcome) => Object.values(OUTCOMES).find(([, , style]) => style === outcome) ?? ["?", outcome, "plain", ""];
  return [h("p", { class: "aside" }, "Between consecutive runs with the same configuration, driver, guest image, QEMU and kernel.", history.flaky_all > history.flaky.length ? ` The ${history.flaky.length} worst of ${history.flaky_all}.` : ""),
    h("div", { class: "wide" }, table("Results that come and go", ["Clause", "Cell", "Changes", "Latest results, the newest last"], history.flaky.map((one) => [
      clauseIndex.has(one.clause) ? clauseLink(one.clause) : one.clause, cellIndex.has(one.cell) ? cellLink(one.cell, one.clause) : one.cell, `${one.changes} in ${one.pairs} (${Math.round(100 * one.rate)} %)`,
      h("span", { class: "line-of-results" }, one.last.map((outcome) => h("span", { class: `sym ${outcome}`, title: sign(outcome)[1] }, h("span", { "aria-hidden": "true" }, sign(outcome)[0]), hidden(`${sign(outcome)[1]} `)))),
    ]), { class: "figures-table" }))];
}

function slowTable(history) {
  const last = history.runs.length - 1;
  const rows = Object.entries(history.cells).filter(([, values]) => values[last] !== null && values[last] !== undefined)
    .sort(([, a], [, b]) => b[last] - a[last]).slice(0, 12);
  return h("div", { class: "wide" }, table("Slowest cells of this run", ["Cell", "Now", "All runs"], rows.map(([cell, values]) =>
    [cellIndex.has(cell) ? cellLink(cell) : cell, seconds(values[last]), spark(values)]), { class: "figures-table" }));
}

function spark(values) {
  const high = Math.max(1e-9, ...values.filter((one) => one !== null)), step = 160 / Math.max(1, values.length);
  return svg("svg", { class: "spark", viewBox: "0 0 160 24", role: "img", "aria-label": values.map((one) => one === null ? "not run" : seconds(one)).join(", ") },
    values.map((one, index) => one === null ? null : svg("rect", { class: "area recorded", x: index * step, width: Math.max(1, step - 1), y: 24 - 24 * one / high, height: 24 * one / high })));
}

function cellHistory(cell) {
  const values = past?.cells[cell.id];
  if (!values || values.length < 2) return null;
  const flaky = past.flaky.filter((one) => one.cell === cell.id);
  return [linePlot(values, seconds, `Duration of ${cell.id} by run`),
    h("p", { class: "aside" }, `Duration in ${count(values.filter((one) => one !== null).length, "run")}.`),
    flaky.length ? [h("h4", null, "Results that come and go"), flakyTable({ flaky, flaky_all: flaky.length })] : null];
}
