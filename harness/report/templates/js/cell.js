// The page of one cell.
function showCell(state, view) {
  const [id, clause] = state.args;
  const index = cellIndex.get(id);
  if (index === undefined) return void view.append(nothing("cell", id));
  const cell = run.cells[index];
  const later = h("div", { class: "later", "aria-live": "polite" }, h("p", { class: "muted" }, "unpacking …"));
  const neighbour = (step, text) => run.cells[index + step] && h("a", { href: cellAddress(run.cells[index + step].id), rel: step < 0 ? "prev" : "next" }, text);
  view.append(h("section", { class: "cell" },
    h("p", { class: "crumbs" }, h("a", { href: "#cells" }, "Cells"), neighbour(-1, "← previous"), neighbour(1, "next →")),
    h("h2", { class: "id", tabindex: "-1" }, breakable(cell.id)),
    h("p", { class: "chips" }, chip(run.words.verdicts[cell.v]), chip(run.words.realised[cell.got]), h("span", { class: "muted" }, "PMU probe"), chip(run.words.probes[cell.p]), h("span", { class: "muted" }, seconds(cell.t))),
    h("p", { class: "lead" }, cell.r),
    cell.not.map((thing) => h("p", { class: "warn" }, h("b", { class: "sym", "aria-hidden": "true" }, "≠"), ` ${thing}`)),
    cell.wine ? h("p", { class: "label" }, cell.g) : null,
    cell.near ? nearestCell(cell.near) : null),
  later);
  details(index).then((all) => {
    later.replaceChildren(...cellDetails(cell, all));
    for (const plot of later.querySelectorAll(".plot")) toLatest(plot);
    const chosen = clause && later.querySelector(`[data-clause="${CSS.escape(clause)}"]`);
    if (chosen) {
      chosen.classList.add("chosen");
      for (const seen of chosen.querySelectorAll("details")) seen.open = true;
      chosen.scrollIntoView();
      chosen.querySelector("a")?.focus({ preventScroll: true });
    }
  }, (error) => later.replaceChildren(h("p", { class: "incident" }, `The details cannot be unpacked in this browser (${error.message}). They are in records.jsonl.`)));
}

const nothing = (kind, name) => h("section", null, h("h2", { tabindex: "-1" }, `There is no such ${kind}`),
  h("p", null, `This run has no ${kind} `, h("code", null, name ?? ""), ". ", h("a", { href: "#/" }, "To the overview")));

const nearestCell = (near) => h("p", { class: "near" }, h("b", null, "Nearest good cell: "), cellLink(near.cell), " ",
  Object.entries(near.differs).flatMap(([axis, [here, there]]) => [h("span", { class: "axis" }, `${axis} ${here} → ${there}`), " "]));

const part = (title, ...children) => h("section", null, h("h3", null, title), ...children);

function cellDetails(cell, all) {
  const history = cellHistory(cell);
  return [
    all.incidents.length || all.evidence.length ? part("What went wrong", all.incidents.map(incident), all.evidence.map(evidence)) : null,
    h("section", null, h("div", { class: "columns" },
      h("div", null, h("h3", null, "Asked for"), pairs(Object.entries(all.config))),
      h("div", null, h("h3", null, "Got"), pairs(Object.entries(all.provenance).map(([key, text]) => [key, text, key.includes("sha256") ? "hash" : ""])), Object.keys(all.provenance).length ? null : h("p", { class: "muted" }, "nothing was recorded")),
      h("div", null, h("h3", null, "PMU probe"), probeAnswer(all.probe)))),
    all.phases.length ? part("Timeline", timeline(all.phases)) : null,
    cell.o.trim() ? part("Clauses", resultsOf(cell, all.results)) : null,
    history ? part("In earlier runs", history) : null,
    all.run ? part("The same VM by hand", h("p", { class: "aside" }, "run.sh boots it as the harness did."), box(all.run)) : null,
    all.files.length ? part("Files", h("p", { class: "aside" }, "They lie beside this page in the folder of the run."), fileList(all.files)) : null,
  ].filter(Boolean);
}

const incident = (one) => h("div", { class: "incident" },
  h("p", null, h("span", { class: "sym", "aria-hidden": "true" }, "!"), " ", h("b", null, `${one.branch} trouble${one.retried ? ", tried again" : ""}: `), one.message),
  one.evidence.map(({ title, href, text }) => href ? h("p", { class: "aside" }, `${title}: `, h("a", { href }, text))
    : text.includes("\n") || text.length > 300 ? [h("p", { class: "aside" }, title), box(text)] : h("p", { class: "aside" }, `${title}: `, h("code", null, text))));

const evidence = (one) => h("div", { class: "incident" }, h("h4", null, `Evidence of ${one.test}`), h("p", { class: "triage" }, one.triage),
  h("div", { class: "pictures" }, one.files.filter((file) => file.picture).map((file) =>
    h("figure", null, h("img", { src: `data:image/png;base64,${file.picture}`, alt: `${file.what || file.name} of the guest` }), h("figcaption", null, file.what || file.name)))),
  h("ul", { class: "files" }, one.files.map((file) => h("li", null, h("a", { href: file.href }, file.name), " ", h("span", { class: "muted" }, `${file.what}, ${bytes(file.size)}`)))),
  one.files.filter((file) => file.tail).map((file) => h("details", null, h("summary", null, `end of ${file.name}`), box(file.tail))),
  one.notes.map((note) => h("p", { class: "aside" }, `${note.step}: ${note.why}`)));

const FEW_REGISTERS = 8;

function probeAnswer(answer) {
  if (!answer) return h("p", null, chip(run.words.probes[""]));
  const registers = Object.entries(answer.advertised).map(([key, text]) => [key, text, "mono"]);
  return [h("p", null, chip(run.words.probes[answer.verdict] ?? run.words.probes[""]), ` in ${seconds(answer.elapsed_s)}`),
    pairs([["machine", `${answer.arch}, ${answer.accel}, ${answer.machine}, QEMU ${answer.qemu_version}`], ["-cpu", answer.cpu],
      ["interface", `${answer.interface}${answer.version ? `, version ${answer.version}` : ""}, ${count(answer.general_counters, "general counter")}, ${answer.fixed_counters} fixed`],
      ...(registers.length > FEW_REGISTERS ? [] : registers)]),
    registers.length > FEW_REGISTERS ? h("details", null, h("summary", null, `${registers.length} registers as the probe read them`), pairs(registers)) : null,
    answer.counters.length ? h("div", { class: "wide" }, table("Counters seen by the PMU probe", ["Counter", "Event", "State", "Count", "Loop"], answer.counters.map((counter) =>
      [counter.name, counter.event, `${{ counting: "▲", dead: "▽" }[counter.state] ?? "!"} ${counter.state}`, counter.count.toLocaleString("en"), counter.loop.toLocaleString("en")]), { class: "counters" })) : null];
}

function resultsOf(cell, results) {
  const rows = run.clauses.map((clause, k) => [clause, cell.o[k]]).filter(([, letter]) => letter !== NOT_PLANNED);
  return h("table", { class: "results" }, h("caption", { class: "vh" }, "Results of the clauses in this cell"),
    h("thead", null, h("tr", null, ["Result", "Clause", "What was seen"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", null, rows.map(([clause, letter]) => h("tr", { "data-clause": clause.id },
      h("td", null, chip(OUTCOMES[letter])),
      h("th", { scope: "row" }, clauseLink(clause.id), h("p", { class: "aside" }, clause.title)),
      h("td", null, letter === "?" ? OUTCOMES[letter][3] : (results[clause.id] ?? []).map((record, _, all) => seen(record, all.length > 1)))))));
}

const OUTCOME_TEXT = Object.fromEntries(Object.values(OUTCOMES).map(([, text, style]) => [style, text]));

function seen(record, several) {
  const test = `${record.test.split("::").pop()}, ${seconds(record.seconds)}`;
  const long = (text) => text.includes("\n") || text.length > 1000;
  return [
    record.reason ? h("p", null, several ? h("b", null, `${OUTCOME_TEXT[record.outcome] ?? record.outcome}: `) : null, record.reason) : null,
    record.seen.length ? h("details", { class: "seen" }, h("summary", null, count(record.seen.length, "observation"), " ", h("span", { class: "muted" }, test)),
      h("dl", null, record.seen.map(([title, text]) => [h("dt", null, title), h("dd", null, long(text) ? box(text) : h("code", null, text))])))
      : h("p", { class: "aside" }, test),
  ];
}

// run.sh and what lies beside it; then the logs of each test's own VM, folded.
function fileList(files) {
  const item = ([name, href, size]) => h("li", null, h("a", { href }, name), " ", h("span", { class: "muted" }, bytes(size)));
  const own = files.filter(([name]) => !name.includes("/")), deeper = files.filter(([name]) => name.includes("/"));
  return [h("ul", { class: "files" }, own.map(item)),
    deeper.length ? h("details", null, h("summary", null, `${count(deeper.length, "more file")} in folders`), h("ul", { class: "files" }, deeper.map(item))) : null];
}
