// Which cells are shown: words, findings, and a value on any axis. Overview and matrix share it.
const shownAxes = run.axes.map((axis, index) => ({ ...axis, index })).filter((axis) => axis.values.length > 1);

// Every word must occur; a word behind a minus must not.
function cellFilter(params) {
  const words = (params.get("q") ?? "").toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
  const concerned = params.get("found") === "1";
  const wanted = shownAxes.filter((axis) => params.has(`a.${axis.key}`))
    .map((axis) => [axis.index, axis.values.indexOf(params.get(`a.${axis.key}`))]);
  return (cell) => (!concerned || cell.f)
    && wanted.every(([axis, number]) => cell.x[axis] === number)
    && words.every((word) => word.startsWith("-") ? !cell.words.includes(word.slice(1)) : cell.words.includes(word));
}

function select(label, options, chosen, change) {
  return h("label", { class: "pick" }, h("span", null, label),
    h("select", { onchange: (event) => change(event.target.value) },
      options.map(([key, text]) => h("option", { value: key, selected: key === chosen }, text))));
}

// The bar above a list of cells. `changed` is called after each change, with the address already right.
function filterBar(state, changed) {
  const set = (changes) => { setParams(state, changes); summarize(); changed(); };
  const search = h("input", {
    type: "search", id: `filter-${state.view}`, value: state.params.get("q") ?? "", autocomplete: "off", spellcheck: "false",
    placeholder: "Filter: pmu_on refused -max", oninput: (event) => set({ q: event.target.value }),
  });
  const found = h("input", { type: "checkbox", onchange: (event) => set({ found: event.target.checked ? "1" : "" }) });
  found.checked = state.params.get("found") === "1";
  const shown = h("output", { "aria-live": "polite" });
  const chosen = h("span", { class: "muted" });
  const axes = h("details", { class: "axes" }, h("summary", null, "Axes ", chosen), h("div", { class: "picks" },
    shownAxes.map((axis) => select(axis.key, [["", "any"], ...axis.values.map((text) => [text, text])],
      state.params.get(`a.${axis.key}`) ?? "", (text) => set({ [`a.${axis.key}`]: text })))));
  const summarize = () => {
    const set_ = shownAxes.filter((axis) => state.params.has(`a.${axis.key}`)).map((axis) => `${axis.key}: ${state.params.get(`a.${axis.key}`)}`);
    chosen.textContent = set_.join(", ");
    const wanted = run.cells.filter(cellFilter(state.params)).length;
    shown.textContent = wanted === run.cells.length ? count(wanted, "cell") : `${wanted} of ${count(run.cells.length, "cell")}`;
  };
  summarize();
  const clear = h("button", { type: "button", onclick: () => { location.hash = address(state.view, state.args); } }, "Clear");
  return h("form", { class: "filter", role: "search", "aria-label": "Filter cells", onsubmit: (event) => event.preventDefault() },
    h("label", { class: "vh", for: search.id }, "Filter cells"), search, h("label", { class: "check" }, found, " only with findings"),
    shown, clear, shownAxes.length ? axes : null);
}
