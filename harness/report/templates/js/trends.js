// What earlier runs say. `run.history` is null in a page that was written without them.
const past = run.history;

function cellHistory() {
  return null;
}

function showTrends(state, view) {
  view.append(h("section", null, h("h2", { tabindex: "-1" }, "Trends"), h("p", { class: "muted" }, "No earlier runs are known.")));
}
