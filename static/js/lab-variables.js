// The variables of a prompt: those of the dataset's columns, declared ones with a default, and what a misspelt one is told.
const by = (id) => document.getElementById(id);
const list = by("variables");
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
let fromData = [];
let said = "";

const changed = () => document.dispatchEvent(new CustomEvent("lab:changed"));
const value = (field) => field.querySelector("[data-value]");
const fallback = (field) => field.querySelector("[data-default] textarea");
const fields = () => [...list.children];
const declared = (field) => field.hasAttribute("data-declared");

/** Values by name. A declared variable without one is left out, so that its default counts; `all` has the empty ones too. */
export function values(all = false) {
  return Object.fromEntries(fields().filter((field) => all || !declared(field) || value(field).value).map((field) => [field.dataset.name, value(field).value]));
}

export const defaults = () => Object.fromEntries(fields().filter(declared).map((field) => [field.dataset.name, fallback(field).value]));

export function write(given) {
  for (const field of fields()) value(field).value = given[field.dataset.name] ?? "";
}

/** Fields for the variables that a dataset brings, beside the declared ones. */
export function columns(names) {
  fromData = names.filter((name) => name !== "input");
  draw(defaults(), values(true));
}

/** The declared variables, {name: default}. */
export function declare(given) { draw(given, values(true)); }

function draw(given, kept) {
  const names = [...new Set([...fromData, ...Object.keys(given)])].filter((name) => name !== "input");
  list.replaceChildren(...names.map((name, index) => {
    const field = by("variable").content.firstElementChild.cloneNode(true);
    const [label, area, own, remove] = [field.querySelector("label"), value(field), fallback(field), field.querySelector("[data-undeclare]")];
    field.dataset.name = name;
    Object.assign(area, { id: `variable-${index}`, name, value: kept[name] ?? "", placeholder: given[name] ?? "" });
    Object.assign(label, { htmlFor: area.id, textContent: `{${name}}` });
    field.toggleAttribute("data-declared", name in given);
    field.querySelector("[data-default]").hidden = remove.hidden = !(name in given);
    own.value = given[name] ?? "";
    own.setAttribute("aria-label", `Default of {${name}}`);
    remove.setAttribute("aria-label", `Take {${name}} back`);
    return field;
  }));
  by("variables-note").textContent = names.length ? "" : "none beside {input}";
}

function add(name) {
  const wrong = !NAME.test(name) ? "A name has letters, digits and _, and begins with no digit." : name === "input" || name in defaults() ? `{${name}} is there already.` : "";
  by("declare-error").hidden = !wrong;
  by("declare-error").textContent = wrong;
  if (wrong) return by("declare-name").focus();
  draw({ ...defaults(), [name]: "" }, values(true));
  by("declare").hidden = true;
  by("declare-name").value = "";
  fallback(fields().find((field) => field.dataset.name === name)).focus();
  return changed();
}

// ---- a misspelt variable ----
const written = () => [...by("lab").querySelectorAll("#instruction, #input_prefix, #output_prefix, #text, [data-turn=content]")].filter((area) => area.closest("[data-mode]:not([hidden])"));
const holding = (name) => written().filter((area) => area.value.includes(`{${name}}`));

function button(text, action) {
  const made = Object.assign(document.createElement("button"), { type: "button", className: "button small", textContent: text });
  made.addEventListener("click", action);
  return made;
}

function use(name, meant) {
  for (const area of holding(name)) area.value = area.value.replaceAll(`{${name}}`, `{${meant}}`);
  written().find((area) => area.value.includes(`{${meant}}`))?.focus();
  changed();
}

/** What the server says about the prompt's variables: the sentence, the fields it is about, and what can be done with one click. */
export function tell({ problem = "", advice = "", unknown = "[]" }) {
  const missing = JSON.parse(unknown || "[]");
  for (const area of written()) area.removeAttribute("aria-invalid");
  for (const { name } of missing) for (const area of holding(name)) area.setAttribute("aria-invalid", "true");
  const words = [problem, advice].filter(Boolean).join(" ");
  by("template-error").hidden = !words;
  // The sentence stands at the first field it is about, wherever that is.
  const first = missing.length ? written().find((area) => area.matches("[aria-invalid]")) : null;
  const place = first?.closest(".field, .turn") ?? by("template-place");
  if (by("template-error").parentElement !== place) place.append(by("template-error"));
  if (words === said) return;
  said = words;
  by("template-problem").textContent = words;
  by("template-ways").replaceChildren(...missing.flatMap(({ name, meant }) => [meant && button(`Use {${meant}}`, () => use(name, meant)), button(`Declare {${name}}`, () => add(name))].filter(Boolean)));
}

export function startVariables() {
  by("declare-open").addEventListener("click", () => { by("declare").hidden = false; by("declare-name").focus(); });
  by("declare-add").addEventListener("click", () => add(by("declare-name").value.trim()));
  by("declare-name").addEventListener("input", (event) => event.stopPropagation());
  by("declare-name").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { by("declare").hidden = true; by("declare-open").focus(); }
    if (event.key !== "Enter") return;
    event.preventDefault();
    add(by("declare-name").value.trim());
  });
  list.addEventListener("input", (event) => {
    const field = event.target.closest(".variable");
    if (event.target === fallback(field)) value(field).placeholder = event.target.value;
  });
  list.addEventListener("click", (event) => {
    const name = event.target.closest("[data-undeclare]")?.closest(".variable").dataset.name;
    if (!name) return;
    const { [name]: _, ...rest } = defaults();
    draw(rest, values(true));
    by("declare-open").focus();
    changed();
  });
}
