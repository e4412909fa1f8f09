// Choosing a label by typing: a combobox over the label book (or, for free text, a text area), cloned from #picker into a place on the page.
const SHOWN = 60;

const folded = (text) => text.normalize("NFC").trim().toLowerCase();

/** The labels that hold a text in display text, key or alias: those that begin with it first. */
export function matches(labels, text) {
  const wanted = folded(text);
  if (!wanted) return labels;
  const begins = [];
  const holds = [];
  for (const label of labels) {
    const names = [label.display, label.key, ...label.aliases].map(folded);
    if (names.some((name) => name.startsWith(wanted))) begins.push(label);
    else if (names.some((name) => name.includes(wanted)) || folded(label.description).includes(wanted)) holds.push(label);
  }
  return [...begins, ...holds];
}

/** Open the picker in `place`. `choose(key)` is called with what was chosen, `leave()` when it was closed without. Returns what closes it. */
export function openPicker(place, { labels, text = "", now = null, choose, leave }) {
  const box = document.getElementById("picker").content.firstElementChild.cloneNode(true);
  const field = box.querySelector("input, textarea");
  const list = box.querySelector("ul");
  let open = true;
  let offered = [];
  let at = 0;

  const close = (then) => {
    if (!open) return;
    open = false;
    box.remove();
    then?.();
  };

  const mark = () => {
    for (const [index, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(index === at));
    const item = list.children[at];
    if (item) field.setAttribute("aria-activedescendant", item.id);
    else field.removeAttribute("aria-activedescendant");
    item?.scrollIntoView({ block: "nearest" });
  };

  const draw = () => {
    const found = matches(labels, field.value);
    const typed = field.value.trim();
    offered = found.slice(0, SHOWN);
    if (typed && !labels.some((label) => label.key === typed || label.display === typed)) offered.push({ key: typed, display: typed, fresh: true });
    at = Math.max(0, typed ? 0 : offered.findIndex((label) => label.key === now));
    list.replaceChildren(...offered.map(option));
    if (found.length > SHOWN) list.append(Object.assign(document.createElement("li"), { className: "faint small", textContent: `${(found.length - SHOWN).toLocaleString("en")} more: type on` }));
    mark();
  };

  const option = (label, index) => {
    const item = Object.assign(document.createElement("li"), { id: `picker-${index}`, textContent: label.fresh ? `New label “${label.display}”` : label.display });
    item.setAttribute("role", "option");
    if (!label.fresh && label.key !== label.display) item.append(Object.assign(document.createElement("span"), { className: "faint small", textContent: label.key }));
    item.addEventListener("pointerdown", (event) => { event.preventDefault(); close(() => choose(label.key)); });
    return item;
  };

  const enter = () => {
    const key = list ? offered[at]?.key : field.value.trim();
    if (key) close(() => choose(key));
  };

  const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape" || event.key === "Tab") close(leave);
    else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) enter();
    else if (list && STEPS[event.key]) { at = Math.min(offered.length - 1, Math.max(0, at + STEPS[event.key])); mark(); }
    else return;
    if (event.key !== "Tab") event.preventDefault();
  });
  field.addEventListener("blur", () => close(leave));
  if (list) field.addEventListener("input", draw);
  place.append(box);
  field.value = list ? text : text || now || "";
  if (list) draw();
  field.focus();
  return () => close(leave);
}
