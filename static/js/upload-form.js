// The form of an upload is sent whole with every change, and its answer draws it anew. An answer to what was asked before the last change is not drawn:
// it would set back what somebody has chosen since, and the next request would say the old choice. The newest request's answer shows everything.
let changes = 0;

// A field that asks for something of its own does not send the form, nor does one that only looks for a label.
document.addEventListener("change", (event) => {
  if (event.target.matches("#upload [data-find]")) event.stopPropagation();
  else if (event.target.closest("#upload") && !event.target.hasAttribute("hx-get")) changes += 1;
}, true);
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => { ctx.changes = changes; });
document.addEventListener("htmx:after:request", (event) => {
  const { ctx } = event.detail;
  const whole = ctx.hx?.retarget === "#upload" || ctx.target?.id === "upload";
  if (whole && (ctx.changes ?? 0) !== changes) event.preventDefault();
});

// Display texts are sent together, however many labels there are: a form may have a thousand fields at most. What is being typed is among them, whatever
// sends the form, and whatever an answer has drawn meanwhile.
function note(field) {
  const all = field.form.elements.displays;
  const said = new Map(Object.entries(JSON.parse(all.value)));
  if (field.value.trim()) said.set(JSON.parse(field.dataset.display), field.value.trim());
  else said.delete(JSON.parse(field.dataset.display));
  all.value = JSON.stringify(Object.fromEntries(said));
}
document.addEventListener("change", ({ target }) => { if (target.matches("#upload [data-display]")) note(target); }, true);
document.addEventListener("formdata", ({ target, formData }) => {
  const field = document.activeElement;
  if (target.id !== "upload" || !field.matches("#upload [data-display]")) return;
  note(field);
  formData.set("displays", target.elements.displays.value);
}, true);
document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, Enter: 1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !event.target.matches("#upload [data-display]")) return;
  event.preventDefault();
  const shown = [...document.querySelectorAll("#upload [data-display]")].filter((field) => field.checkVisibility());
  shown[shown.indexOf(event.target) + step]?.select();
});

// A slider says where it stands while it moves. What the test split can detect was told for every share; the form is sent once the slider is let go.
document.addEventListener("input", ({ target }) => {
  if (!target.matches("#upload input[type=range]")) return;
  const { test, validation } = target.form.elements;
  target.labels[0].querySelector("output").textContent = `${target.value} %`;
  target.form.querySelector("#train").textContent = 100 - test.value - validation.value;
  target.form.querySelector("#detects").textContent = JSON.parse(test.dataset.detects)[test.value];
});

// A long table of labels is searched in place, and searched anew when it is drawn anew.
document.addEventListener("input", ({ target }) => { if (target.matches("#upload [data-find]")) find(target); });
document.addEventListener("htmx:after:swap", () => { for (const field of document.querySelectorAll("#upload [data-find]")) if (field.value) find(field); });

async function find(field) {
  const { matches } = await import("./label-picker.js"); // only now: presses wait for what the page begins with
  const table = field.closest(".stack");
  const labels = [...table.querySelectorAll(".labels dt")].map((line) => ({ line, display: line.title, key: line.title, aliases: [], description: "" }));
  const found = new Set(matches(labels, field.value));
  for (const label of labels) for (let part = label.line; part && (part === label.line || part.tagName === "DD"); part = part.nextElementSibling) part.hidden = !found.has(label);
  const rest = table.querySelector("details.more");
  rest.open ||= Boolean(field.value);
  rest.querySelector("summary").hidden = Boolean(field.value);
  table.querySelector(".labels-find output").textContent = field.value ? `${found.size.toLocaleString("en")} of ${labels.length.toLocaleString("en")}` : "";
}

// What was chosen before the page's scripts ran has told nobody yet; so has what a browser puts back into the fields of a page that is loaded anew.
document.addEventListener("DOMContentLoaded", () => { // htmx begins then too, and has asked for it first
  for (const field of document.querySelectorAll("#upload :is(select, input:not([data-find]))")) {
    const { type, options } = field;
    const before = options && ([...options].find((option) => option.defaultSelected) ?? options[0])?.value;
    const changed = options ? field.value !== before : type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
    if (changed && !field.hasAttribute("hx-get")) field.dispatchEvent(new Event("change", { bubbles: true }));
  }
});

// A press that puts a problem right says so in the form's own field as well: a field left a moment ago is about to send the form, too, and comes after it.
document.addEventListener("click", (event) => {
  const press = event.target.closest("#upload [hx-vals]");
  if (!press) return;
  changes += 1;
  for (const [name, value] of Object.entries(JSON.parse(press.getAttribute("hx-vals")))) choose(press.form, name, String(value));
}, true);

function choose(form, name, value) {
  const field = form.elements.namedItem(name);
  if (!field) return form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  if (field.options && ![...field.options].some((option) => option.value === value)) field.add(new Option(value, value));
  field.value = value;
}
