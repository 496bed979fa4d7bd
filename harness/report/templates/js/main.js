// Which view is shown, and what belongs to the page as a whole.
const VIEWS = {
  matrix: ["Clauses × cells", showMatrix],
  cell: ["Cell", showCell],
  clause: ["Clause", showClause],
  trends: ["Trends", showTrends],
};
const pageTitle = document.title;

function show(moved) {
  const state = readState();
  const [title, draw] = VIEWS[state.view] ?? ["", null];
  const view = byId("view");
  byId("overview").hidden = Boolean(draw);
  view.hidden = !draw;
  view.replaceChildren();
  document.title = draw ? `${state.args[0] ?? title} · ${pageTitle}` : pageTitle;
  for (const link of document.querySelectorAll("nav.views a")) {
    const here = link.getAttribute("href") === address(draw ? state.view : "overview");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (draw) {
    scrollTo(0, 0);
    draw(state, view);
    if (moved) view.querySelector("h2")?.focus({ preventScroll: true });
  } else {
    if (moved && !state.section && !state.params.size) scrollTo(0, 0);
    showOverview(state);
  }
}

document.documentElement.classList.add("with-js");
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
addEventListener("hashchange", () => show(true));
show(false);
