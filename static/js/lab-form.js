// The Lab's editor as plain values, and back: what is drafted, sent and saved.
const by = (id) => document.getElementById(id);
const FIELDS = ["instruction", "input_prefix", "output_prefix"];
const shots = by("shots");
const parameters = () => [...document.querySelectorAll("[data-parameter]")];

/** The prompt version's fields without its parameters. */
export function prompt() {
  return { mode: "structured", ...Object.fromEntries(FIELDS.map((name) => [name, by(name).value])), shots: readShots().map(({ input, output }) => ({ input, output })) };
}

export function readShots() {
  return [...shots.children].map((item) => ({ input: cell(item, "input").value, output: cell(item, "output").value, drawn: item.hasAttribute("data-drawn") }));
}

const cell = (item, name) => item.querySelector(`[data-shot="${name}"]`);

export function writeShots(list) {
  shots.replaceChildren();
  for (const shot of list) addShot(shot);
}

export function addShot({ input = "", output = "", drawn = false }) {
  const item = by("shot").content.firstElementChild.cloneNode(true);
  cell(item, "input").value = input;
  cell(item, "output").value = output;
  item.toggleAttribute("data-drawn", drawn);
  shots.append(item);
  return cell(item, "input");
}

/** Only what differs from the defaults. */
export function readParameters() {
  const given = {};
  for (const field of parameters()) {
    const text = field.value.trim();
    if (!text) continue;
    const value = field.dataset.kind === "list" ? field.value.split("\n").filter(Boolean).map((line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t")) : Number(text);
    if (String(value) !== field.dataset.default) given[field.dataset.parameter] = value;
  }
  return given;
}

export function writeParameters(given) {
  for (const field of parameters()) {
    const value = given[field.dataset.parameter];
    field.value = Array.isArray(value) ? value.map((line) => line.replaceAll("\n", "\\n").replaceAll("\t", "\\t")).join("\n") : value ?? "";
  }
}

/** The first parameter out of its range, as a sentence; "" when all are in order. */
export function badParameter() {
  const field = parameters().find((one) => !one.validity.valid);
  return field ? `${field.dataset.title}: ${field.validationMessage}` : "";
}

/** The changed parameters in words: "temperature 0.7, max tokens 32". */
export function parameterWords() {
  const given = readParameters();
  const named = Object.entries(given).map(([name, value]) => `${name.replaceAll("_", " ")} ${Array.isArray(value) ? value.map((line) => JSON.stringify(line)).join(" ") : value}`);
  return named.join(", ") || "defaults: greedy, at most 64 tokens";
}

export function variables() {
  const more = [...by("variables").querySelectorAll("textarea")].map((area) => [area.name, area.value]);
  return Object.fromEntries([...more, ["input", by("input").value]]);
}

export function writeVariables(values) {
  by("input").value = values.input ?? "";
  for (const area of by("variables").querySelectorAll("textarea")) area.value = values[area.name] ?? "";
}

/** A field for every variable beside `input` that the dataset brings. */
export function nameVariables(names) {
  const kept = variables();
  const wanted = names.filter((name) => name !== "input");
  by("variables").replaceChildren(...wanted.map((name, index) => {
    const field = by("variable").content.firstElementChild.cloneNode(true);
    const [label, area] = [field.querySelector("label"), field.querySelector("textarea")];
    Object.assign(area, { id: `variable-${index}`, name, value: kept[name] ?? "" });
    Object.assign(label, { htmlFor: area.id, textContent: `{${name}}` });
    return field;
  }));
}

export function writePrompt(fields) {
  for (const name of FIELDS) by(name).value = fields[name] ?? "";
  writeShots(fields.shots ?? []);
}

/** Everything in the editor, for the draft. */
export function read() {
  return { fields: { ...prompt(), shots: readShots(), parameters: readParameters() }, variables: variables(), model: by("model").value, count: by("count").value, seed: by("draw-seed").value };
}

export function write(state) {
  writePrompt(state.fields);
  writeParameters(state.fields.parameters ?? {});
  writeVariables(state.variables ?? {});
  choose(by("model"), state.model);
  by("count").value = state.count || 4;
  by("draw-seed").value = state.seed || 0;
}

/** Select an option if it is there; false when not. */
export function choose(select, value) {
  const there = [...select.options].some((option) => option.value === String(value ?? ""));
  if (there) select.value = String(value ?? "");
  return there;
}

/** Nothing has been written yet. */
export function isEmpty() {
  return !by("instruction").value.trim() && !by("input").value.trim() && !shots.children.length;
}
