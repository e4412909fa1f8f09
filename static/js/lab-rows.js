// Rows of a dataset in the Lab: walking through them (validation and train only), and their gold answer.
import { choose, nameVariables, variables, writeVariables } from "./lab-form.js";
import { typed } from "./lab-words.js";

const by = (id) => document.getElementById(id);
let place = 0;
let row = null;
let turn = 0;

const option = () => by("dataset").selectedOptions[0];
const names = () => JSON.parse(option()?.dataset.variables || '["input"]');
export const splits = () => Object.fromEntries(JSON.parse(option()?.dataset.splits || "[]"));

export const dataset = () => by("dataset").value;
export const datasets = () => by("dataset").options.length > 1;
export const state = () => ({ dataset: dataset(), split: by("split").value, row: place });

/** The row's gold answer while every value of the row stands unchanged in the editor, else null. */
export function gold() {
  const values = variables(true);
  return row?.gold && Object.entries(row.values).every(([name, value]) => !(name in values) || values[name] === typed(value)) ? row.gold : null;
}

async function load(index, fill) {
  const total = splits()[by("split").value] ?? 0;
  if (!total) return;
  place = (index + total) % total;
  turn += 1;
  const mine = turn;
  by("row-place").textContent = `row ${(place + 1).toLocaleString("en")} of ${total.toLocaleString("en")}`;
  const response = await fetch(`/lab/row?${new URLSearchParams({ dataset: dataset(), split: by("split").value, offset: place })}`).catch(() => null);
  if (!response?.ok || mine !== turn) return;
  row = await response.json();
  const { labels } = row.values;
  // What belongs to no column is the person's own, and stays.
  const columns = Object.fromEntries(names().map((name) => [name, ""]));
  writeVariables(fill ? { ...variables(true), ...columns, ...row.values } : { ...variables(true), ...(labels && { labels }) });
  document.dispatchEvent(new CustomEvent("lab:changed"));
}

/** Nobody's typing is lost by filling in a row: the input is empty, or is the last row's. */
const free = () => !variables().input.trim() || (row && typed(row.values.input) === variables().input);

/** Show the dataset's tools; `fill` puts the row's values into the editor. */
async function open(index, fill) {
  const counts = splits();
  nameVariables(names());
  by("split").replaceChildren(...Object.keys(counts).map((name) => new Option(name, name)));
  by("row-tools").hidden = !dataset();
  row = null;
  if (dataset()) await load(index, fill);
}

/** Bring back a drafted place without touching what was typed. */
export async function restore({ dataset: reference, split, row: index }) {
  if (!choose(by("dataset"), reference)) return;
  const opened = open(0, false);
  if (choose(by("split"), split) && dataset()) await load(index || 0, false);
  else await opened;
}

/** Choose a dataset, and take its first row unless somebody has typed an input. */
export async function take(reference) {
  if (choose(by("dataset"), reference)) await open(0, free());
}

export function start() {
  by("dataset").addEventListener("change", () => open(0, free()).then(() => document.dispatchEvent(new CustomEvent("lab:changed"))));
  by("split").addEventListener("change", () => load(0, true));
  by("row-previous").addEventListener("click", () => load(place - 1, true));
  by("row-next").addEventListener("click", () => load(place + 1, true));
}
