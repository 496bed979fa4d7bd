// The run as it was embedded. `run.cells[n].o[k]` is the letter of clause k in cell n.
const run = JSON.parse(byId("data").textContent);
const OUTCOMES = run.words.outcomes;
const NOT_PLANNED = " ";
const LETTER = Object.fromEntries(Object.entries(OUTCOMES).map(([letter, [, text]]) => [text, letter]));
const WORST = [LETTER["violated"], LETTER["not judged"], "?"];
const cellIndex = new Map(run.cells.map((cell, index) => [cell.id, index]));
const clauseIndex = new Map(run.clauses.map((clause, index) => [clause.id, index]));
run.cells.forEach((cell, index) => {
  cell.index = index;
  cell.words = [cell.id, cell.v, run.words.realised[cell.got][1].replaceAll(" ", "-"), cell.p, cell.g].join(" ").toLowerCase();
});

const value = (cell, axis) => cell.x[axis] < 0 ? "–" : run.axes[axis].values[cell.x[axis]];
const reasonOf = (cell, clause) => clause in cell.w ? run.reasons[cell.w[clause]] : "";

// The details of a cell are unpacked when its page is opened.
const packedDetails = [...document.querySelectorAll("script.details")];
async function details(index) {
  const raw = Uint8Array.from(atob(packedDetails[index].textContent.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// How often each letter occurs, the worst first, as in the words of the outcomes.
function countLetters(letters) {
  const counted = new Map();
  for (const letter of letters) if (letter !== NOT_PLANNED) counted.set(letter, (counted.get(letter) ?? 0) + 1);
  return Object.keys(OUTCOMES).filter((letter) => counted.has(letter)).map((letter) => [letter, counted.get(letter)]);
}

function tally(letters) {
  const counted = countLetters(letters);
  if (!counted.length) return h("span", { class: "muted" }, "no clauses");
  return h("span", { class: "tally" },
    h("span", { class: "bar", "aria-hidden": "true" }, counted.map(([letter, number]) => h("i", { class: OUTCOMES[letter][2], style: { flex: String(number) } }))),
    h("span", { class: "figures" }, counted.map(([letter, number]) =>
      h("span", { class: OUTCOMES[letter][2] }, h("b", { "aria-hidden": "true" }, OUTCOMES[letter][0]), ` ${number}`, hidden(` ${OUTCOMES[letter][1]}`)))));
}

const cellLink = (id, clause) => h("a", { class: "id", href: cellAddress(id, clause) }, breakable(id));
const clauseLink = (id) => h("a", { class: "clause-id", href: clauseAddress(id), title: run.clauses[clauseIndex.get(id)]?.title }, id);
