// The form of an upload is sent whole with every change, and its answer draws it anew. An answer to what was asked before the last change is not drawn:
// it would set back what somebody has chosen since, and the next request would say the old choice. The newest request's answer shows everything.
let changes = 0;

// A field that asks for something of its own does not send the form.
document.addEventListener("change", (event) => { if (event.target.closest("#upload") && !event.target.hasAttribute("hx-get")) changes += 1; }, true);
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => { ctx.changes = changes; });
document.addEventListener("htmx:after:request", (event) => {
  const { ctx } = event.detail;
  const whole = ctx.hx?.retarget === "#upload" || ctx.target?.id === "upload";
  if (whole && (ctx.changes ?? 0) !== changes) event.preventDefault();
});

// What was chosen before the page's scripts ran has told nobody yet; so has what a browser puts back into the fields of a page that is loaded anew.
document.addEventListener("DOMContentLoaded", () => { // htmx begins then too, and has asked for it first
  for (const field of document.querySelectorAll("#upload :is(select, input)")) {
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
