// The overview is in the page already; here its table of cells learns to filter.
const overviewRows = [...document.querySelectorAll("table.cells tr[data-cell]")];
const overviewGroups = [...document.querySelectorAll("table.cells tbody")];

function filterOverview(params) {
  const wanted = cellFilter(params);
  overviewRows.forEach((row, index) => { row.hidden = !wanted(run.cells[index]); });
  overviewGroups.forEach((group) => { group.hidden = !group.querySelector("tr[data-cell]:not([hidden])"); });
}

function showOverview(state) {
  byId("cells-filter").replaceChildren(filterBar(state, () => filterOverview(state.params)));
  filterOverview(state.params);
  if (state.section) byId(state.section)?.scrollIntoView();
  else if (state.params.size) byId("cells").scrollIntoView();
}
