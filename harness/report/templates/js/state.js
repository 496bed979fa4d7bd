// The state of the page is its address: #/view/argument/…?key=value&… Whatever can be seen can be linked.
function readState() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const parts = path.startsWith("/") ? path.slice(1).split("/").map(decode) : [];
  return {
    view: parts[0] || "overview",
    args: parts.slice(1),
    params: new URLSearchParams(query),
    section: path.startsWith("/") ? "" : decode(path),
  };
}

// A broken escape in a link somebody typed is no reason to stop.
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function address(view, args = [], params = new URLSearchParams()) {
  const path = ["#", view === "overview" ? "" : view, ...args.map(encodeURIComponent)].join("/");
  const query = params.toString();
  return query ? `${path}?${query}` : path;
}

const cellAddress = (id, clause) => address("cell", clause ? [id, clause] : [id]);
const clauseAddress = (id) => address("clause", [id]);

// Changes parameters of the present view without a new entry in the history for each letter that is typed.
function setParams(state, changes) {
  for (const [key, value] of Object.entries(changes)) {
    if (value) state.params.set(key, value);
    else state.params.delete(key);
  }
  history.replaceState(null, "", address(state.view, state.args, state.params));
}
