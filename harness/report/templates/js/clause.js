// The page of one clause: its text, its source, its tests, and its results everywhere.
function showClause(state, view) {
  const k = clauseIndex.get(state.args[0]);
  if (k === undefined) return void view.append(nothing("clause", state.args[0]));
  const clause = run.clauses[k];
  const cells = run.cells.filter((cell) => cell.o[k] !== NOT_PLANNED);
  const neighbour = (step, text) => run.clauses[k + step] && h("a", { href: clauseAddress(run.clauses[k + step].id), rel: step < 0 ? "prev" : "next" }, text);
  view.append(h("section", { class: "cell" },
    h("p", { class: "crumbs" }, h("a", { href: "#clauses" }, "Clauses"), neighbour(-1, "← previous"), neighbour(1, "next →")),
    h("h2", { class: "id", tabindex: "-1" }, clause.id),
    h("p", { class: "lead" }, clause.title),
    pairs([["judged", { assert: "assert: the documentation promises it", record: "record: the documentation is silent, what was seen is kept", crash: "crash: may stop the kernel, runs in a guest that is thrown away" }[clause.kind] ?? clause.kind],
      ["source", clause.source], ["generations", clause.generations.join(", ")], ["tests", clause.tests.map((test) => [h("code", null, test), h("br")])]]),
    tally(cells.map((cell) => cell.o[k]))),
  byAxis(k, cells),
  h("section", null, h("h3", null, "In each cell"), clauseCells(k, cells)));
}

// Where it comes out differently: the axes on which results are not spread alike.
function byAxis(k, cells) {
  const bad = (cell) => WORST.includes(cell.o[k]);
  const axes = shownAxes.filter(({ key }) => key !== "verdict").map((axis) => {
    const groups = axis.values.map((text, number) => [text, cells.filter((cell) => cell.x[axis.index] === number)]).filter(([, members]) => members.length);
    return [axis, groups];
  }).filter(([, groups]) => groups.length > 1 && new Set(groups.map(([, members]) => countLetters(members.map((cell) => cell.o[k])).map(([letter]) => letter).join(""))).size > 1);
  if (!axes.length) return "";
  return h("section", null, h("h3", null, cells.some(bad) ? "Where it fails" : "Where it differs"), h("div", { class: "columns" }, axes.map(([axis, groups]) =>
    h("div", null, h("h4", null, axis.key), h("ul", { class: "plain spread" }, groups.map(([text, members]) =>
      h("li", null, h("a", { href: address("matrix", [], new URLSearchParams({ [`a.${axis.key}`]: text })) }, text), tally(members.map((cell) => cell.o[k])))))))));
}

// Cells with the same result for the same reason are one line.
function clauseCells(k, cells) {
  const groups = new Map();
  for (const cell of cells) {
    const key = JSON.stringify([cell.o[k], reasonOf(cell, k)]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(cell);
  }
  const order = Object.keys(OUTCOMES);
  const sorted = [...groups.values()].sort((a, b) => order.indexOf(a[0].o[k]) - order.indexOf(b[0].o[k]) || b.length - a.length);
  return h("table", { class: "results" }, h("caption", { class: "vh" }, "Results of this clause by cell"),
    h("thead", null, h("tr", null, ["Result", "Reason", "Cells"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", null, sorted.map((members) => h("tr", null,
      h("td", null, chip(OUTCOMES[members[0].o[k]])),
      h("th", { scope: "row" }, reasonOf(members[0], k) || h("span", { class: "muted" }, "–")),
      h("td", null, members.length > 6
        ? h("details", null, h("summary", null, count(members.length, "cell")), h("ul", { class: "ids" }, members.map((cell) => h("li", null, cellLink(cell.id, run.clauses[k].id)))))
        : h("ul", { class: "ids" }, members.map((cell) => h("li", null, cellLink(cell.id, run.clauses[k].id)))))))));
}
