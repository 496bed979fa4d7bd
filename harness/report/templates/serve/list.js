// All runs, the latest first, fetched again every few seconds.
const EVERY = 3000;
let before = "";

const verdictChips = (verdicts) => h("span", { class: "chips" }, verdicts.map(([symbol, text, style, number]) => [chip([symbol, text, style, ""]), ` ${number} `]));

function line(run) {
  const place = encodeURIComponent(run.folder);
  if (run.trouble) return [run.folder, h("span", { class: "warn" }, run.trouble), "", "", ""];
  const link = run.finished && run.report ? h("a", { class: "id", href: `/runs/${place}/report.html` }, run.folder) : h("a", { class: "id", href: `/live/${place}` }, run.folder);
  const ending = run.finished ? { 0: "✓ conforms", 1: "✗ violated" }[run.exit_code] ?? "! not judged" : "● goes on, or was killed";
  return [link, ending, `${run.recorded} of ${run.planned}`, verdictChips(run.verdicts), seconds(run.seconds)];
}

async function refresh() {
  try {
    const text = await (await fetch("/api/runs")).text();
    if (text !== before) draw(JSON.parse(text)); // drawn anew, the page would lose the reader's place
    before = text;
  } catch (error) {
    byId("sub").textContent = `no answer from halpmc serve (${error.message})`;
    before = "";
  }
  setTimeout(refresh, EVERY);
}

function draw(runs) {
  byId("sub").textContent = count(runs.length, "run");
  byId("content").replaceChildren(runs.length ? h("div", { class: "wide" }, table("Runs", ["Run", "How it ended", "Results", "Verdicts", "Time"], runs.map(line), { class: "figures-table" })) : h("p", null, "No runs yet."));
}
refresh();
