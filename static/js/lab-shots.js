// Shots: how many, drawn from the train split, picked from it by search, written by hand; put in order by drag and by keyboard.
import { amiss, find } from "./lab-ask.js";
import { addShot, mode, readShots, variables, writeShots } from "./lab-form.js";
import { several } from "./lab-inputs.js";
import { dataset, datasets } from "./lab-rows.js";

const by = (id) => document.getElementById(id);
const SEARCH_MS = 200;
const REDRAW_MS = 500;
let dragged = null;
let searching = 0;
let redrawing = 0;
/** The input that the drawn shots are the nearest to (null: they are not drawn so), and the one they were last asked for. */
let near = null;
let tried = null;
let note = "";
let asking = false;
let turn = 0;

const list = by("shots");
const changed = () => document.dispatchEvent(new CustomEvent("lab:changed"));
const nearest = () => by("draw-selection").value === "nearest";

/** Whether the shots are those nearest to the one input. */
export const drawnNear = () => mode() === "structured" && nearest() && Boolean(list.querySelector("[data-drawn]"));

/** Whether the shots are another set for every input. A table's rows all get the same one. */
export const following = () => drawnNear() && !several();

/** Why the prompt is not whole for a moment, or "". */
export const pending = () => (mode() === "structured" && (redrawing || asking) ? "The shots are being drawn anew." : "");

/** What a draft keeps of the draw. */
export const state = () => ({ near });

/** Drafts of before did not say it: their shots were drawn for the input they hold. */
export function restore({ near: kept, variables: values }) {
  near = kept === undefined ? (values?.input ?? null) : kept;
  [tried, note] = [null, ""];
}

function nearTo() {
  if (several()) return "nearest to the one input, the same for all rows";
  return near === variables().input ? "nearest to the input" : "not the nearest to this input yet";
}

export function describeShots() {
  const shots = readShots();
  const drawn = shots.filter((shot) => shot.drawn).length;
  const how = nearest() ? nearTo() : `${by("draw-selection").value}, seed ${by("draw-seed").value || 0}`;
  by("shots-note").textContent = [drawn && `${drawn} drawn, ${how}`, shots.length - drawn && `${shots.length - drawn} own`].filter(Boolean).join(", ") || "none: zero-shot";
  const kind = shots.length > 1 ? "n" : String(shots.length);
  const number = document.querySelector(`input[name=shots][value="${kind}"]`);
  number.checked = true;
  if (kind !== "n" && document.activeElement === by("count")) number.focus();
  by("count-field").hidden = kind !== "n";
  by("draw-tools").hidden = !drawn;
  by("draw-note").textContent = note || (following() ? "No shared prefix: every input is read whole." : "");
  if (kind === "n") by("count").value = shots.length;
  [...list.children].forEach((item, index) => {
    item.querySelector("[data-shot-move]").setAttribute("aria-label", `Move shot ${index + 1} of ${shots.length}: arrow keys`);
    item.querySelector("[data-shot-remove]").setAttribute("aria-label", `Remove shot ${index + 1}`);
  });
  follow(drawn);
}

/** Shots that are the nearest to the input are drawn again when it has changed. */
function follow(drawn) {
  clearTimeout(redrawing);
  redrawing = 0;
  const { input } = variables();
  if (drawn && following() && dataset() && near !== null && ![near, tried].includes(input)) redrawing = setTimeout(() => draw(readShots().length), REDRAW_MS);
}

/** So many shots in all: own ones stay, the rest is drawn. */
async function draw(count) {
  turn += 1;
  const mine = turn;
  clearTimeout(redrawing);
  [redrawing, asking] = [0, false];
  by("shots-error").replaceChildren();
  const own = readShots().filter((shot) => !shot.drawn).slice(0, count);
  const wanted = count - own.length;
  if (wanted && !dataset()) {
    complain(datasets() ? "Choose a dataset to draw shots from, or add your own." : "There is no dataset to draw shots from yet: add your own.");
    return changed();
  }
  const wrong = amiss(by("draw-seed"), "Seed");
  if (wanted && wrong) {
    complain(wrong);
    return changed();
  }
  tried = nearest() ? variables().input : null;
  const body = { dataset: dataset(), count: wanted, seed: Number(by("draw-seed").value) || 0, selection: by("draw-selection").value, input: tried ?? "" };
  asking = Boolean(wanted);
  const { found, refused } = wanted ? await find("/lab/shots", body) : { found: { shots: [], note: "" } };
  if (mine !== turn) return null;
  asking = false;
  if (!found) {
    by("shots-error").innerHTML = refused ?? "";
    return changed();
  }
  const { shots, note: said } = found;
  [near, note] = [tried, said];
  writeShots([...own, ...shots.map((shot) => ({ ...shot, drawn: true }))]);
  return changed();
}

function complain(sentence) {
  by("shots-error").replaceChildren(Object.assign(document.createElement("p"), { className: "help", textContent: sentence }));
}

// ---- picked from the train split ----
async function search() {
  if (!dataset()) {
    by("pick-rows").replaceChildren();
    by("pick-note").textContent = "Choose a dataset first: its train rows are what can be picked.";
    return;
  }
  const asked = by("pick-words").value;
  const response = await fetch(`/lab/shots/search?${new URLSearchParams({ dataset: dataset(), q: asked })}`).catch(() => null);
  if (asked !== by("pick-words").value) return;
  const { rows } = response?.ok ? await response.json() : { rows: [] };
  by("pick-rows").replaceChildren(...rows.map(offer));
  by("pick-note").textContent = rows.length ? "" : response?.ok ? "No train row has all of these words." : "The server does not answer.";
}

function offer(row) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", title: row.input });
  const [text, output, place] = [row.input, row.output, `row ${row.row.toLocaleString("en")}`].map((words) => Object.assign(document.createElement("span"), { textContent: words }));
  place.className = "faint small";
  button.append(text, output, place);
  button.addEventListener("click", () => {
    addShot(row);
    by("pick-note").textContent = `Row ${row.row.toLocaleString("en")} is shot ${list.children.length} now.`;
    changed();
  });
  item.append(button);
  return item;
}

function showPick(open) {
  by("pick").hidden = !open;
  by("pick-open").setAttribute("aria-expanded", String(open));
  if (!open) return by("pick-open").focus();
  by("pick-words").focus();
  return search();
}

function walk(event) {
  if (event.key === "Escape") { event.stopPropagation(); return showPick(false); }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const stops = [by("pick-words"), ...by("pick-rows").querySelectorAll("button")];
  if (event.key === "Enter" && event.target === stops[0]) return event.preventDefault();
  if (!step) return null;
  event.preventDefault();
  return stops[Math.min(stops.length - 1, Math.max(0, stops.indexOf(event.target) + step))].focus();
}

// ---- order ----
function move(item, step) {
  const other = step > 0 ? item.nextElementSibling : item.previousElementSibling;
  if (!other) return;
  if (step > 0) other.after(item);
  else other.before(item);
  item.querySelector("[data-shot-move]").focus();
  by("shots-said").textContent = `Shot ${[...list.children].indexOf(item) + 1} of ${list.children.length}`;
  changed();
}

/** The handle is taken with mouse, pen or finger; what it passes the middle of makes room. */
function drag(event) {
  const item = dragged;
  const over = [...list.children].find((one) => { const { top, bottom } = one.getBoundingClientRect(); return event.clientY >= top && event.clientY < bottom; });
  if (!item || !over || over === item) return;
  const { top, height } = over.getBoundingClientRect();
  const below = item.compareDocumentPosition(over) & Node.DOCUMENT_POSITION_FOLLOWING;
  item.setAttribute("data-dragged", "");
  if (below && event.clientY > top + height / 2) over.after(item);
  else if (!below && event.clientY < top + height / 2) over.before(item);
}

function letGo() {
  if (!dragged) return;
  const item = dragged;
  dragged = null;
  item.querySelector("[data-shot-move]").focus();
  if (item.hasAttribute("data-dragged")) changed();
  item.removeAttribute("data-dragged");
}

function remove(item) {
  ((item.nextElementSibling ?? item.previousElementSibling)?.querySelector("[data-shot-remove]") ?? by("add-shot")).focus();
  item.remove();
  changed();
}

export function startShots() {
  for (const radio of document.querySelectorAll("input[name=shots]")) {
    radio.addEventListener("change", () => draw(radio.value === "n" ? Math.max(2, Number(by("count").value) || 4) : Number(radio.value)));
  }
  by("count").addEventListener("change", () => draw(Math.min(200, Math.max(0, Number(by("count").value) || 0))));
  for (const id of ["draw-seed", "draw-selection"]) by(id).addEventListener("change", () => draw(readShots().length));
  by("draw-selection").addEventListener("input", (event) => event.stopPropagation());
  by("draw").addEventListener("click", () => {
    by("draw-seed").value = Number(by("draw-seed").value || 0) + 1;
    draw(Math.max(1, readShots().length));
  });
  by("add-shot").addEventListener("click", () => { addShot({}).focus(); changed(); });
  by("pick-open").addEventListener("click", () => showPick(by("pick").hidden));
  by("pick").addEventListener("keydown", walk);
  by("pick-words").addEventListener("input", (event) => {
    event.stopPropagation();
    clearTimeout(searching);
    searching = setTimeout(search, SEARCH_MS);
  });
  // A shot that is written over is nobody's row any more.
  list.addEventListener("input", (event) => { const item = event.target.closest("li"); item.removeAttribute("data-drawn"); delete item.dataset.row; });
  list.addEventListener("click", (event) => { const button = event.target.closest("[data-shot-remove]"); if (button) remove(button.closest("li")); });
  list.addEventListener("keydown", (event) => {
    const step = event.target.closest("[data-shot-move]") && { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    move(event.target.closest("li"), step);
  });
  list.addEventListener("pointerdown", (event) => { if (!event.button) dragged = event.target.closest("[data-shot-move]")?.closest("li") ?? null; });
  document.addEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, letGo);
}
