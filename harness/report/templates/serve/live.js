// One run while it goes on: each cell with its phase, its clauses and its results.
const EVERY = 1000;
const place = location.pathname.split("/").pop();

const results = (all) => all.map(([symbol, text, style, number]) => [h("span", { class: `sym ${style}`, "aria-hidden": "true" }, symbol), ` ${number} `, hidden(`${text} `)]);

function line(cell) {
  const state = cell.verdict ? chip([...cell.verdict, ""]) : h("span", { class: "muted" }, cell.state);
  const bar = h("progress", { max: String(Math.max(1, cell.planned)), value: String(cell.done), "aria-label": `${cell.id}: ${cell.done} of ${cell.planned} clauses` });
  return [h("span", { class: "id" }, breakable(cell.id)), state, [bar, ` ${cell.done}/${cell.planned}`],
    [cell.state === "running" ? `${cell.phase} ${cell.last} ` : "", cell.trouble ? h("span", { class: "warn" }, cell.trouble) : ""], results(cell.results)];
}

let before = "";

async function refresh() {
  let again = true;
  try {
    const answer = await fetch(`/api/runs/${place}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(text);
    const run = JSON.parse(text);
    if (text !== before) draw(run); // drawn anew, the page would lose the reader's place
    before = text;
    again = !(run.finished && run.report);
  } catch (error) {
    byId("sub").textContent = `no answer (${error.message})`;
    before = "";
  }
  if (again) setTimeout(refresh, EVERY);
}

function draw(run) {
  byId("title").textContent = run.name;
  document.title = `${run.ended}/${run.cells.length} ${run.name} · halpmc`;
  byId("sub").textContent = `${run.finished ? "ended" : "goes on"}: ${run.ended} of ${count(run.cells.length, "cell")} done, ${run.recorded} of ${run.planned} results`;
  const order = { running: 0, ended: 1, waiting: 2 };
  const cells = [...run.cells].sort((a, b) => order[a.state] - order[b.state]);
  byId("content").replaceChildren(
    h("p", { class: "crumbs" }, h("a", { href: "/" }, "All runs"), run.report ? h("a", { href: `/runs/${place}/report.html` }, "Report") : null, h("a", { href: `/runs/${place}/records.jsonl` }, "records.jsonl")),
    h("div", { class: "wide" }, table("Cells", ["Cell", "State", "Clauses", "Now", "Results"], cells.map(line), { class: "figures-table" })));
}
refresh();
