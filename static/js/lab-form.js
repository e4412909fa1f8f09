// The Lab's editor as plain values, and back: what is drafted, sent and saved.
import { readTurns, writeTurns } from "./lab-chat.js";
import * as parameters from "./lab-parameters.js";
import * as named from "./lab-variables.js";

const by = (id) => document.getElementById(id);
const BLANK = { instruction: "", input_prefix: "Input:", output_prefix: "Output:", shots: [], text: "", messages: [] };
const FIELDS = { structured: ["instruction", "input_prefix", "output_prefix"], freeform: ["text"], chat: [] };
const shots = by("shots");

/** The same prompt in the modes it was shown in before: `origin` is the one it was written in. lab-modes.js keeps it. */
export const memory = { origin: null, trail: {}, base: {} };

export const mode = () => document.querySelector("input[name=mode]:checked").value;

export function showMode(wanted) {
  document.querySelector(`input[name=mode][value=${wanted}]`).checked = true;
  for (const part of document.querySelectorAll("#lab [data-mode]")) part.hidden = part.dataset.mode !== wanted;
  by("lab-panes").dataset.editing = wanted;
  placeInput();
}

/** The keyboard goes to the prompt. */
export const focus = () => document.querySelector("#lab [data-mode]:not([hidden]) textarea")?.focus();

/** What a mode's fields say, the rows of its shots included. */
export function content(of = mode()) {
  const own = Object.fromEntries(FIELDS[of].map((name) => [name, by(name).value]));
  if (of === "structured") own.shots = readShots();
  if (of === "chat") own.messages = readTurns();
  return { mode: of, ...BLANK, ...own };
}

export function writeContent(fields) {
  const of = fields.mode ?? "structured";
  for (const name of FIELDS[of]) by(name).value = fields[name] ?? BLANK[name];
  if (of === "structured") writeShots(fields.shots ?? []);
  if (of === "chat") writeTurns(fields.messages ?? []);
}

/** The prompt version's fields without its parameters. */
export function prompt() {
  const fields = content();
  return { ...fields, shots: fields.shots.map(({ input, output }) => ({ input, output })), defaults: named.defaults() };
}

/** The prompt as it is run now: turns that are only kept are left out. */
export const asked = () => (mode() === "chat" ? { ...prompt(), messages: readTurns(true) } : prompt());

const text = () => { const { instruction, text: free, messages } = content(); return [instruction, free, ...messages.map((turn) => turn.content)].join("\n"); };

/** Whether the prompt needs an input: a structured one always does. */
export const readsInput = () => mode() === "structured" || /(^|[^{])\{input\}/.test(text());

/** The input's field is there while something reads it, and while nothing is written yet. */
export function placeInput() { by("input-field").hidden = !readsInput() && Boolean(text().trim()); }

/** What has to be written before the prompt can be run, whatever the input; "" when all is. */
export function unwritten() {
  const { messages } = asked();
  if (mode() === "freeform" && !by("text").value.trim()) return "Write the prompt first.";
  if (mode() === "chat" && !messages.some((turn) => turn.content.trim())) return "Write a turn first.";
  if (mode() === "chat" && messages.at(-1).role === "assistant") return "The last turn is the model's own: add one for it to answer.";
  return "";
}

/** Why the prompt cannot be run yet; "" when it can. */
export const lacking = () => unwritten() || (readsInput() && !by("input").value.trim() ? "Give an input first." : "");

export function readShots() {
  return [...shots.children].map((item) => ({ input: cell(item, "input").value, output: cell(item, "output").value, drawn: item.hasAttribute("data-drawn"), row: Number(item.dataset.row) || null }));
}

const cell = (item, name) => item.querySelector(`[data-shot="${name}"]`);

export function writeShots(list) {
  shots.replaceChildren();
  for (const shot of list) addShot(shot);
}

export function addShot({ input = "", output = "", drawn = false, row = null }) {
  const item = by("shot").content.firstElementChild.cloneNode(true);
  cell(item, "input").value = input;
  cell(item, "output").value = output;
  item.toggleAttribute("data-drawn", drawn);
  if (row) item.dataset.row = row;
  shots.append(item);
  return cell(item, "input");
}

/** The first column is the editor's own: its parameters are saved with the prompt. */
const first = () => document.querySelector("[data-column]");
const drawer = () => first().querySelector("[data-part=parameters]");
export const model = () => first().querySelector("[data-part=model]");
export const readParameters = () => parameters.read(drawer());
export const writeParameters = (given) => parameters.write(drawer(), given);

/** The values of all variables that have one; `all` has the empty ones too. */
export const variables = (all = false) => ({ ...named.values(all), input: by("input").value });

export function writeVariables(values) {
  by("input").value = values.input ?? "";
  named.write(values);
}

export const nameVariables = named.columns;

export function writePrompt(fields) {
  Object.assign(memory, { origin: null, trail: {}, base: {} });
  for (const of of Object.keys(FIELDS)) writeContent({ ...BLANK, mode: of });
  named.declare(fields.defaults ?? {});
  writeContent(fields);
  showMode(fields.mode ?? "structured");
}

/** Everything in the editor, for the draft. */
export function read() {
  return {
    fields: { ...prompt(), shots: readShots(), parameters: readParameters() }, variables: variables(true), memory: { ...memory },
    model: model().value, count: by("count").value, seed: by("draw-seed").value, selection: by("draw-selection").value,
  };
}

export function write(state) {
  writePrompt(state.fields);
  Object.assign(memory, state.memory ?? {});
  writeParameters(state.fields.parameters ?? {});
  writeVariables(state.variables ?? {});
  choose(model(), state.model);
  by("count").value = state.count || 4;
  by("draw-seed").value = state.seed || 0;
  choose(by("draw-selection"), state.selection || "balanced");
}

/** Select an option if it is there; false when not. */
export function choose(select, value) {
  const there = [...select.options].some((option) => option.value === String(value ?? ""));
  if (there) select.value = String(value ?? "");
  return there;
}

/** Nothing has been written yet. */
export function isEmpty() {
  return !text().trim() && !by("input").value.trim() && !(mode() === "structured" && shots.children.length);
}
