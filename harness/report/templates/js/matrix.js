// Clauses × cells: a grid whose rows the browser only lays out when they come into sight.
const COLUMN = 29;

const matrixColumns = {
  "": ["all clauses", () => true],
  differs: ["clauses that differ between cells", (rows, k) => new Set(rows.map((cell) => cell.o[k]).filter((letter) => letter !== NOT_PLANNED)).size > 1],
  bad: ["clauses violated or not judged", (rows, k) => rows.some((cell) => WORST.includes(cell.o[k]))],
};

// One element to clone for each letter: 30,000 of them are made at once.
const matrixSamples = Object.fromEntries(Object.entries(OUTCOMES).map(([letter, [symbol, text, style]]) =>
  [letter, h("div", { role: "gridcell", class: style }, h("a", { tabindex: "-1", "aria-label": text }, symbol))]));
const matrixBlank = h("div", { role: "gridcell", class: "none" }, hidden("not planned"));

function matrixRow(cell) {
  const [symbol, text, style] = run.words.verdicts[cell.v];
  const row = h("div", { role: "row", class: "row" }, h("div", { role: "rowheader" },
    h("span", { class: `sym ${style}`, title: text }, h("span", { "aria-hidden": "true" }, symbol), hidden(text)),
    h("a", { class: "id", tabindex: "-1", href: cellAddress(cell.id), title: cell.id }, breakable(cell.id))));
  const home = `${cellAddress(cell.id)}/`;
  for (let k = 0; k < run.clauses.length; k++) {
    const sample = matrixSamples[cell.o[k]];
    const square = (sample ?? matrixBlank).cloneNode(true);
    square.classList.add(`c${k}`);
    if (cell.promised.includes(k)) square.classList.add("promised");
    if (sample) square.firstChild.setAttribute("href", home + encodeURIComponent(run.clauses[k].id));
    row.append(square);
  }
  return row;
}

function matrixGroup(label, cells, columns) {
  const row = h("div", { role: "row", class: "row group" }, h("div", { role: "rowheader" }, h("span", { class: "sticky" }, label, " ", h("span", { class: "muted" }, count(cells.length, "cell")))));
  for (let k = 0; k < run.clauses.length; k++) {
    if (!columns[k]) continue;
    const counted = countLetters(cells.map((cell) => cell.o[k]));
    const worst = counted[0];
    const told = counted.map(([letter, number]) => `${number} ${OUTCOMES[letter][1]}`).join(", ");
    row.append(h("div", { role: "gridcell", class: worst ? `sum ${OUTCOMES[worst[0]][2]} c${k}` : `none c${k}`, title: `${run.clauses[k].id}: ${told || "not planned"}` },
      worst ? h("span", { "aria-label": told }, WORST.includes(worst[0]) ? String(worst[1]) : OUTCOMES[worst[0]][0]) : hidden("not planned")));
  }
  return row;
}

let matrixRows = null;

function showMatrix(state, view) {
  matrixRows ??= run.cells.map(matrixRow);
  const grid = h("div", { role: "grid", class: "matrix", "aria-label": "Results of clauses in cells" });
  const scroll = h("div", { class: "scroll", tabindex: "-1" }, grid);
  const hiding = h("style");
  const drawn = { group: null, heads: [] };
  const draw = () => drawMatrix(state, grid, hiding, drawn);
  const set = (key) => (text) => { setParams(state, { [key]: text }); draw(); };
  const axes = shownAxes.map((axis) => [axis.key, axis.key]);
  const folded = h("input", { type: "checkbox", onchange: (event) => set("fold")(event.target.checked ? "1" : "") });
  folded.checked = state.params.get("fold") === "1";
  const results = Object.entries(OUTCOMES).map(([letter, [, text]]) => [letter, text]);
  view.append(h("section", null,
    h("div", { class: "head" }, h("h2", { tabindex: "-1" }, "Clauses × cells"), legendOfOutcomes()),
    filterBar(state, draw),
    h("div", { class: "picks" },
      select("Group by", [["-", "nothing"], ["", "guest"], ...axes], state.params.get("group") ?? "", set("group")),
      select("Columns", Object.entries(matrixColumns).map(([key, [text]]) => [key, text]), state.params.get("cols") ?? "", set("cols")),
      select("Rows with", [["", "any result"], ...results], state.params.get("with") ?? "", set("with")),
      h("label", { class: "check" }, folded, " groups only")),
    hiding, scroll,
    h("p", { class: "hint" }, "Tab enters the table, arrow keys move in it, Enter opens what was seen. A number in a group's line counts its cells with that result.")));
  draw();
  scroll.addEventListener("keydown", (event) => matrixKey(event, grid));
  scroll.addEventListener("pointerover", matrixTitle);
}

const legendOfOutcomes = () => h("ul", { class: "plain key" }, Object.values(OUTCOMES).map(([symbol, text, style]) =>
  h("li", { class: style }, h("b", { class: "sym", "aria-hidden": "true" }, symbol), ` ${text}`)));

// Rows stay where they are as long as the groups do: hiding some of 500 is quick, moving them is not.
function drawMatrix(state, grid, hiding, drawn) {
  const wanted = cellFilter(state.params), having = state.params.get("with");
  const shown = run.cells.map((cell) => wanted(cell) && (!having || cell.o.includes(having)));
  const cells = run.cells.filter((_, index) => shown[index]);
  const keep = (matrixColumns[state.params.get("cols")] ?? matrixColumns[""])[1];
  const columns = run.clauses.map((_, k) => keep(cells, k));
  const style = columns.map((kept, k) => kept ? "" : `.matrix .c${k}{display:none}`).join("");
  if (hiding.textContent !== style) hiding.textContent = style;
  grid.style.setProperty("--columns", String(columns.filter(Boolean).length));
  const group = state.params.get("group") ?? "", fold = state.params.get("fold") === "1" && group !== "-";
  if (drawn.group !== group) {
    drawn.group = group;
    drawn.groups = grouped(run.cells, group);
    drawn.heads = drawn.groups.map(([label]) => label === null ? null : h("div"));
    drawn.top = h("div");
    drawn.empty = h("div", { role: "row", class: "row" }, h("div", { role: "gridcell", class: "empty" }, "No cell is left. Loosen the filter."));
    grid.replaceChildren(drawn.top, drawn.empty, ...drawn.groups.flatMap(([, members], index) => [drawn.heads[index], ...members.map((cell) => matrixRows[cell.index])]).filter(Boolean));
  }
  const top = matrixHead(columns);
  drawn.top.replaceWith(top);
  drawn.top = top;
  drawn.empty.hidden = cells.length > 0;
  drawn.groups.forEach(([label, members], index) => {
    const left = members.filter((cell) => shown[cell.index]);
    if (label !== null) {
      const head = left.length ? matrixGroup(label, left, columns) : h("div", { hidden: true });
      drawn.heads[index].replaceWith(head);
      drawn.heads[index] = head;
    }
    for (const cell of members) matrixRows[cell.index].hidden = fold || !shown[cell.index];
  });
  oneTabStop(grid);
}

// Of all squares that are shown one can be reached by Tab.
function oneTabStop(grid) {
  const old = grid.querySelector('a[tabindex="0"]');
  if (old && !old.closest("[hidden]")) return;
  if (old) old.tabIndex = -1;
  const first = grid.querySelector(".row:not(.group):not(.top):not([hidden]) a");
  if (first) first.tabIndex = 0;
}

function grouped(cells, group) {
  if (group === "-") return [[null, cells]];
  const axis = run.axes.findIndex(({ key }) => key === group);
  const groups = new Map();
  for (const cell of cells) {
    const label = group === "" ? cell.g : axis < 0 ? "–" : `${group}: ${value(cell, axis)}`;
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(cell);
  }
  return [...groups];
}

// Column heads: the family where it begins, and the number within it.
function matrixHead(columns) {
  let last = "";
  const shown = run.clauses.filter((_, k) => columns[k]);
  const only = (k) => !shown[shown.indexOf(run.clauses[k]) + 1]?.id.startsWith(run.clauses[k].id.replace(/[^-]*$/, ""));
  return h("div", { role: "row", class: "row top" }, h("div", { role: "columnheader", class: "corner" }, "Cell"),
    run.clauses.map((clause, k) => {
      if (!columns[k]) return null;
      const [, family, number] = /^(.*?)-?([^-]*)$/.exec(clause.id);
      const name = family || clause.id, begins = name !== last;
      last = name;
      return h("div", { role: "columnheader", class: begins ? "begins" : null },
        begins ? h("span", { class: only(k) ? "family narrow" : "family", "aria-hidden": "true" }, name) : null,
        h("a", { href: clauseAddress(clause.id), tabindex: "-1", "aria-label": clause.id, title: `${clause.id}: ${clause.title}` }, number || "·"));
    }));
}

function matrixKey(event, grid) {
  const from = event.target.closest("[role=gridcell],[role=rowheader]");
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e6], End: [0, 1e6], PageUp: [-10, 0], PageDown: [10, 0] };
  const step = steps[event.key];
  if (!from || !step) return;
  event.preventDefault();
  const rows = [...grid.querySelectorAll(".row:not(.group):not(.top):not([hidden])")].filter((row) => row.querySelector("a"));
  const inRow = (row) => [...row.children].filter((square) => square.querySelector("a") && square.checkVisibility({ checkVisibilityCSS: false, contentVisibilityAuto: false }));
  const place = Math.max(0, inRow(from.parentElement).indexOf(from));
  const row = rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(from.parentElement) + step[0]))];
  const squares = inRow(row);
  const to = squares[Math.min(squares.length - 1, Math.max(0, place + step[1]))]?.querySelector("a");
  if (!to) return;
  event.target.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

// What a square means, told when the pointer comes to it: 30,000 titles need not be written beforehand.
function matrixTitle(event) {
  const link = event.target.closest("[role=gridcell] a");
  if (!link || link.title) return;
  const [, id, clause] = link.getAttribute("href").split("/").slice(1).map(decode).slice(-3);
  const cell = run.cells[cellIndex.get(id)], k = clauseIndex.get(clause);
  if (!cell || k === undefined) return;
  const reason = reasonOf(cell, k);
  link.title = `${clause} ${OUTCOMES[cell.o[k]][1]}${reason ? `: ${reason}` : ""}`;
}
