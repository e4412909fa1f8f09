// <time data-age="milliseconds"> counts on in the words of app/pages/formatting.py: ago(); <time data-clock> shows the reader's own time zone.
const STEPS = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [604800, 86400, "d"]];

// From here on a number that should be live is old; the strip then shows its age.
const OLD_MS = 15000;

/** The age in words, or "" past a week, where the server's date stays. */
export function ago(thenMs, nowMs) {
  const age = Math.max(0, Math.floor((nowMs - thenMs) / 1000));
  if (age < 5) return "just now";
  const step = STEPS.find(([limit]) => age < limit);
  return step ? `${Math.floor(age / step[1])}\u00a0${step[2]} ago` : "";
}

// The server's clock counts, not the reader's: <html data-now> is its time when the page was made.
const skew = Number(document.documentElement.dataset.now || Date.now()) - Date.now();

function tick() {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-age]")) {
    const text = ago(Number(element.dataset.age), Date.now() + skew);
    if (text && element.textContent !== text) element.textContent = text;
    element.toggleAttribute("data-old", Date.now() + skew - element.dataset.age > OLD_MS);
  }
}

function localise(scope) {
  for (const element of scope.querySelectorAll("time[data-clock]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.textContent = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    element.title = moment.toLocaleString();
  }
}

localise(document);
document.addEventListener("htmx:after:swap", () => { localise(document); tick(); });
setInterval(tick, 5000);
