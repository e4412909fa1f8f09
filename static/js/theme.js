// Light, dark or the system's choice. The cookie lets the server render <html data-theme> so that a page never flashes.
const root = document.documentElement;

function choose(theme) {
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  document.cookie = `theme=${theme}; path=/; max-age=${theme ? 31536000 : 0}; samesite=lax`;
  document.dispatchEvent(new CustomEvent("theme"));
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-theme-choice]")) choose(event.target.value);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme")));

/** A token of app.css as the browser resolves it now: colour("--accent") -> "rgb(11, 103, 99)". Canvas knows no custom properties. */
export function colour(token) {
  const probe = document.createElement("i");
  probe.hidden = true;
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}
