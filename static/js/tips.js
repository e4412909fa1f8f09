// What stands behind a number: [data-tip="id"] shows the popover with that id on hover and on focus. It can be hovered itself; Escape hides it.
const DELAY_MS = 120;
let shown = null;
let timer = 0;

function place(tip, trigger) {
  const at = trigger.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = tip;
  const below = at.bottom + 6;
  const top = below + height > innerHeight - 8 ? Math.max(8, at.top - height - 6) : below;
  tip.style.left = `${Math.max(12, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 12))}px`;
  tip.style.top = `${top}px`;
}

function show(trigger) {
  clearTimeout(timer);
  const tip = document.getElementById(trigger.dataset.tip);
  if (!tip || tip === shown) return;
  hide();
  tip.showPopover();
  place(tip, trigger);
  shown = tip;
}

function hide() {
  if (shown?.isConnected) shown.hidePopover();
  shown = null;
}

function soon(action) {
  clearTimeout(timer);
  timer = setTimeout(action, DELAY_MS);
}

document.addEventListener("pointerover", (event) => {
  const trigger = event.target.closest("[data-tip]");
  if (trigger) soon(() => show(trigger));
  else if (shown && shown.contains(event.target)) clearTimeout(timer);
  else soon(hide);
});
document.addEventListener("focusin", (event) => {
  const trigger = event.target.closest("[data-tip]");
  if (trigger) show(trigger);
  else hide();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
addEventListener("scroll", hide, { passive: true, capture: true });
