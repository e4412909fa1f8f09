// The queue by keyboard: Alt with an arrow moves the row that has the focus ([data-moves], a job's number). The tables wait while a menu is open, and
// the focus stays where it was when a row has moved.
let kept = "";

document.addEventListener("keydown", (event) => {
  const to = { ArrowUp: "up", ArrowDown: "down" }[event.key];
  const row = event.target.closest("[data-moves]");
  if (!to || !event.altKey || !row) return;
  event.preventDefault();
  row.querySelector(`#${to}-${row.dataset.moves}`).click();
});

document.addEventListener("htmx:config:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  if (source.id === "jobs" && document.querySelector(".job-menu:popover-open")) event.preventDefault();
  const focused = document.activeElement;
  kept = focused?.closest("#jobs") && focused.id ? focused.id : "";
});

document.addEventListener("htmx:after:swap", () => {
  const focused = kept && document.getElementById(kept);
  kept = "";
  if (focused && document.activeElement !== focused) focused.focus();
});
