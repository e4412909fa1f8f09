// Rows of a dataset in the Lab: walking through them (validation and train only), their gold answer, and shots drawn from the train split.
import { addShot, choose, nameVariables, readShots, variables, writeShots, writeVariables } from "./lab-form.js";

const by = (id) => document.getElementById(id);
let place = 0;
let row = null;
let turn = 0;

const option = () => by("dataset").selectedOptions[0];
const splits = () => Object.fromEntries(JSON.parse(option()?.dataset.splits || "[]"));

export const dataset = () => by("dataset").value;
export const state = () => ({ dataset: dataset(), split: by("split").value, row: place });

/** What counts as right (the gold answer first, then its aliases) while the row's input stands unchanged in the editor, else null. */
export const gold = () => (row?.answers && row.values.input === variables().input ? row.answers : null);

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
  writeVariables(fill ? row.values : { ...variables(), ...(labels && { labels }) });
  document.dispatchEvent(new CustomEvent("lab:changed"));
}

/** Nobody's typing is lost by filling in a row: the input is empty, or is the last row's. */
const free = () => !variables().input.trim() || row?.values.input === variables().input;

/** Show the dataset's tools; `fill` puts the row's values into the editor. */
async function open(index, fill) {
  const counts = splits();
  nameVariables(JSON.parse(option()?.dataset.variables || '["input"]'));
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

// ---- shots ----
export function describeShots() {
  const list = readShots();
  const drawn = list.filter((shot) => shot.drawn).length;
  const words = [drawn && `${drawn} drawn, seed ${by("draw-seed").value || 0}`, list.length - drawn && `${list.length - drawn} own`].filter(Boolean);
  by("shots-note").textContent = words.join(", ") || "none: zero-shot";
  const kind = list.length > 1 ? "n" : String(list.length);
  document.querySelector(`input[name=shots][value="${kind}"]`).checked = true;
  by("count-field").hidden = kind !== "n";
  by("draw-tools").hidden = !drawn;
  if (kind === "n") by("count").value = list.length;
}

/** So many shots in all: own ones stay, the rest is drawn. */
async function draw(count) {
  by("shots-error").replaceChildren();
  const own = readShots().filter((shot) => !shot.drawn).slice(0, count);
  const wanted = count - own.length;
  if (wanted && !dataset()) {
    complain(option() && by("dataset").options.length > 1 ? "Choose a dataset to draw shots from, or add your own." : "There is no dataset to draw shots from yet: add your own.");
    return describeShots();
  }
  const answer = wanted ? await fetch(`/lab/shots?${new URLSearchParams({ dataset: dataset(), count: wanted, seed: by("draw-seed").value || 0 })}`, { headers: { "HX-Request": "true" } }).catch(() => null) : null;
  if (wanted && !answer?.ok) {
    if (answer) by("shots-error").innerHTML = await answer.text();
    else complain("The server does not answer.");
    return describeShots();
  }
  const drawn = wanted ? (await answer.json()).shots.map((shot) => ({ ...shot, drawn: true })) : [];
  writeShots([...own, ...drawn]);
  return document.dispatchEvent(new CustomEvent("lab:changed"));
}

function complain(sentence) {
  by("shots-error").replaceChildren(Object.assign(document.createElement("p"), { className: "help", textContent: sentence }));
}

export function start() {
  by("dataset").addEventListener("change", () => open(0, free()).then(() => document.dispatchEvent(new CustomEvent("lab:changed"))));
  by("split").addEventListener("change", () => load(0, true));
  by("row-previous").addEventListener("click", () => load(place - 1, true));
  by("row-next").addEventListener("click", () => load(place + 1, true));
  for (const radio of document.querySelectorAll("input[name=shots]")) {
    radio.addEventListener("change", () => draw(radio.value === "n" ? Math.max(2, Number(by("count").value) || 4) : Number(radio.value)));
  }
  by("count").addEventListener("change", () => draw(Math.min(200, Math.max(0, Number(by("count").value) || 0))));
  by("draw-seed").addEventListener("change", () => draw(readShots().length));
  by("draw").addEventListener("click", () => {
    by("draw-seed").value = Number(by("draw-seed").value || 0) + 1;
    draw(Math.max(1, readShots().length));
  });
  by("add-shot").addEventListener("click", () => { addShot({}).focus(); document.dispatchEvent(new CustomEvent("lab:changed")); });
  by("shots").addEventListener("input", (event) => event.target.closest("li").removeAttribute("data-drawn"));
  by("shots").addEventListener("click", (event) => {
    const item = event.target.closest("[data-shot-remove]")?.closest("li");
    if (!item) return;
    (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button").focus();
    item.remove();
    document.dispatchEvent(new CustomEvent("lab:changed"));
  });
}
