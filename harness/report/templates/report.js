"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  document.documentElement.classList.add("with-js");

  // A link to something inside a closed <details> opens it.
  const reveal = () => {
    const target = byId(location.hash.slice(1));
    if (!target) return;
    for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  byId("expand").addEventListener("click", (event) => {
    const cells = all("details.cell:not([hidden])");
    const open = !cells.every((cell) => cell.open);
    cells.forEach((cell) => { cell.open = open; });
    event.target.textContent = open ? "Collapse all" : "Expand all";
  });

  // Every word must occur; a word behind a minus must not.
  const filter = byId("filter"), concerned = byId("concerned");
  const items = all("[data-words]"), groups = all("tr.group");
  const total = all("table.cells [data-words]").length;
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
    const wanted = (item) => (!concerned.checked || "concerned" in item.dataset) && words.every((word) =>
      word.startsWith("-") ? !item.dataset.words.includes(word.slice(1)) : item.dataset.words.includes(word));
    items.forEach((item) => { item.hidden = !wanted(item); });
    groups.forEach((group) => { group.hidden = !group.parentElement.querySelector("[data-words]:not([hidden])"); });
    const left = all("table.cells [data-words]:not([hidden])").length;
    byId("shown").textContent = left === total ? "" : `${left} of ${total} cells`;
  };
  filter.addEventListener("input", apply);
  concerned.addEventListener("change", apply);
  filter.form.addEventListener("submit", (event) => event.preventDefault());

  // The matrix is one stop of the Tab key; inside, the arrow keys move.
  const matrix = document.querySelector("table.matrix");
  if (matrix) {
    const links = [...matrix.querySelectorAll("tbody td a, tbody th a")];
    links.forEach((link, index) => { link.tabIndex = index ? -1 : 0; });
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    matrix.addEventListener("keydown", (event) => {
      const step = steps[event.key], from = event.target.closest("tbody td, tbody th");
      if (!step || !from) return;
      event.preventDefault();
      const rows = [...matrix.querySelectorAll("tbody tr[data-words]:not([hidden])")];
      const row = rows.indexOf(from.parentElement) + step[0], column = from.cellIndex + step[1];
      const to = rows[row]?.cells[column]?.querySelector("a");
      if (!to) return;
      event.target.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    });
  }
})();
