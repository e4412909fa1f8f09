// The grid of labels: arrow keys move, typing finds a label, Enter sets it, u takes the last one back. Every label is kept on the server at once.
import { openPicker } from "./label-picker.js";
import { Problem, post } from "./lab-stream.js";
import { askToSave, making, saved } from "./save-labels.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const given = JSON.parse(by("given").textContent);
const body = by("grid");
const base = `/api/v1/datasets/${given.dataset}/annotations`;
const names = new Map(given.labels.map((label) => [label.key, label.display]));
const rows = () => [...(body?.rows ?? [])];
const output = (row) => JSON.parse(row.dataset.output);
const shown = (key) => (key === null ? "unlabelled" : names.get(key) ?? key);
let close = null;

function tell(progress) {
  const words = progress.changed ? `${progress.changed.toLocaleString("en")} changed, not saved` : "";
  by("changes").textContent = words;
  by("save").setAttribute("aria-disabled", String(!progress.changed));
  given.progress = progress;
}

function draw(row, key) {
  const before = JSON.parse(row.dataset.saved);
  row.dataset.output = JSON.stringify(key);
  row.toggleAttribute("data-changed", key !== before);
  row.querySelector(".label-now").textContent = shown(key);
  row.querySelector(".was").textContent = `was ${shown(before)}`;
  row.querySelector(".was").hidden = key === before;
}

/** Make a row the one that keys go to. */
function go(row) {
  if (!row) return;
  for (const other of rows()) other.tabIndex = other === row ? 0 : -1;
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function step(row, by_) {
  const all = rows();
  const next = all[all.indexOf(row) + by_];
  if (next) return go(next);
  return turn(by_);
}

/** On to the next or the last page; the keys go on there. */
function turn(by_) {
  const link = document.querySelector(by_ > 0 ? "a[rel=next]" : "a[rel=prev]");
  if (!link) return;
  sessionStorage.setItem("grid-end", by_ > 0 ? "first" : "last");
  location.assign(link.href);
}

async function set(row, key) {
  const before = output(row);
  if (key !== before) draw(row, key);
  step(row, 1);
  if (key === before) return;
  try {
    tell(await (await post(base, { example: Number(row.dataset.row), output: key })).json());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    draw(row, before);
    toast({ text: `Not set: ${error.message} ${error.advice}` });
  }
}

function edit(row, text = "") {
  const cell = row.querySelector(".label");
  close?.();
  row.setAttribute("data-editing", "");
  const end = (then) => { close = null; row.removeAttribute("data-editing"); then(); };
  close = openPicker(cell, {
    labels: given.labels, text, now: output(row),
    choose: (key) => end(() => { names.has(key) || !given.labels.length || learn(key); go(row); set(row, key); }),
    leave: () => end(() => { if (document.activeElement === document.body) go(row); }),
  });
}

/** A label that somebody made up is offered from now on. */
function learn(key) {
  names.set(key, key);
  given.labels.push({ key, display: key, description: "", aliases: [], none: false });
}

async function undo() {
  try {
    const { undone, row: back, progress } = await (await post(`${base}/undo`, {})).json();
    tell(progress);
    const row = back && rows().find((one) => Number(one.dataset.row) === back.id);
    if (row) { draw(row, back.output); go(row); }
    toast({ text: !undone ? "There is nothing to take back." : back ? `Taken back${row ? "" : `: row ${(back.position + 1).toLocaleString("en")}`}, now ${shown(back.output)}.` : "Taken back." });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    toast({ text: `${error.message} ${error.advice}` });
  }
}

const KEYS = {
  ArrowDown: (row) => step(row, 1),
  ArrowUp: (row) => step(row, -1),
  Home: () => go(rows()[0]),
  End: () => go(rows().at(-1)),
  PageDown: () => turn(1),
  PageUp: () => turn(-1),
  Enter: (row) => edit(row),
  "/": (row) => edit(row),
  Delete: (row) => output(row) !== null && set(row, null),
};

/** A key that begins the name of a label: any letter or digit but those that are commands. */
const writes = (key) => key.length === 1 && key.trim() && !["u", "?"].includes(key);

body?.addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  if (event.target !== row || event.metaKey || event.ctrlKey || event.altKey) return;
  const act = KEYS[event.key] ?? (writes(event.key) ? () => edit(row, event.key) : null);
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act(row);
});
body?.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (event.target.closest(".picker")) return;
  if (event.target.closest(".label-now")) edit(row);
  else go(row);
});
body?.addEventListener("focusin", (event) => { if (event.target.matches("tr")) for (const other of rows()) other.tabIndex = other === event.target ? 0 : -1; });

by("undo").addEventListener("click", undo);
by("save").addEventListener("click", () => askToSave(`${given.progress.changed.toLocaleString("en")} rows get another label.`, async (reason) => {
  const version = await (await post(`${base}/save`, { reason })).json();
  if (version.upload) return making(version);
  const left = version.clashing ? ` ${version.clashing} were changed by somebody else and are kept for you to look at.` : "";
  return { href: location.pathname + location.search, text: `Saved as version ${version.version}.${left}` };
}));

tell(given.progress);
const note = saved();
if (note) toast({ text: note, href: `/datasets/${given.dataset}`, link: "Show it" });
const end = sessionStorage.getItem("grid-end");
sessionStorage.removeItem("grid-end");
if (end || document.activeElement === document.body) go(end === "last" ? rows().at(-1) : rows()[0]);
