// A log that keeps its newest line in sight: <input type="checkbox" data-follow="id"> for the scrolling element with that id. Scrolling up lets go of it.
const NEAR = 24;

for (const box of document.querySelectorAll("[data-follow]")) {
  const log = document.getElementById(box.dataset.follow);
  const toEnd = () => { if (box.checked) log.scrollTop = log.scrollHeight; };
  new MutationObserver(toEnd).observe(log, { childList: true });
  box.addEventListener("change", toEnd);
  log.addEventListener("wheel", (event) => { if (event.deltaY < 0) box.checked = false; }, { passive: true });
  log.addEventListener("scroll", () => { if (log.scrollHeight - log.scrollTop - log.clientHeight < NEAR) box.checked = true; }, { passive: true });
  toEnd();
}
