// Short notes that go away, or with `stays` wait to be dismissed. The server sends one with the header HX-Trigger: {"toast": {"text": "Saved.", "href": "/jobs/12", "link": "Job 12"}}.
const LIFE_MS = 6000;
const notes = document.getElementById("toasts");

/** While a dialog is open nothing beside it can be read, used or heard: what is said there is said in it. */
function gather() {
  const dialog = document.activeElement.closest("dialog:modal");
  if (!dialog || dialog.contains(notes)) return;
  dialog.append(notes);
  dialog.addEventListener("close", () => document.body.append(notes), { once: true });
}

export function toast({ text, href, link, stays }) {
  const box = document.createElement("div");
  box.className = "toast";
  box.append(text);
  if (href) {
    const anchor = document.createElement("a");
    Object.assign(anchor, { href, textContent: link || "Show" });
    box.append(" ", anchor);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "×";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => box.remove());
  box.append(close);
  gather();
  notes.append(box);
  if (stays) return;
  let timer = setTimeout(() => box.remove(), LIFE_MS);
  const hold = () => clearTimeout(timer);
  const release = () => { hold(); timer = setTimeout(() => box.remove(), LIFE_MS); };
  box.addEventListener("pointerenter", hold);
  box.addEventListener("focusin", hold);
  box.addEventListener("pointerleave", release);
  box.addEventListener("focusout", release);
}

document.addEventListener("toast", (event) => toast(event.detail));
