// Tabs of what otherwise stands one below the other: nav[data-tabs] of links to panels. The address keeps which one is open; data-tabs names the one to begin with, or
// the first does. Find in page and links to a hidden panel open it.
for (const nav of document.querySelectorAll("nav[data-tabs]")) {
  const links = [...nav.querySelectorAll("a")];
  const panel = (link) => document.getElementById(link.hash.slice(1));

  const open = (chosen) => {
    for (const link of links) {
      if (link === chosen) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      panel(link).hidden = link !== chosen;
    }
  };
  const named = (name) => links.find((link) => link.hash === `#${name}`);

  nav.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    open(link);
  });
  nav.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = links[(links.indexOf(document.activeElement) + step + links.length) % links.length];
    next.focus();
    next.click();
  });
  open(named(location.hash.slice(1)) || named(nav.dataset.tabs) || links[0]);
}
