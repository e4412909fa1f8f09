// Somebody has just signed out: what the Lab kept of theirs in this browser goes, for the next person is somebody else. Drafts are on the server; how this
// browser is set up, and what other accounts have here, stays. Names without an account are of a time when they had none.
const left = new URLSearchParams(location.search).get("left");

if (/^\d+$/.test(left ?? "")) {
  for (const store of [localStorage, sessionStorage]) {
    for (const name of Object.keys(store)) {
      if (name.startsWith("lab-") && (name.endsWith(`:${left}`) || !name.includes(":"))) store.removeItem(name);
    }
  }
  history.replaceState(null, "", location.pathname);
}
