// What the columns are asked: the editor's one input, or a table of inputs from a dataset's split and from pasted lines.
import { amiss } from "./lab-ask.js";
import * as form from "./lab-form.js";
import { shown } from "./lab-gold.js";
import * as rows from "./lab-rows.js";

const by = (id) => document.getElementById(id);
const MOST = 100;
/** The table: {values, gold, row}; `gold` is the row's gold answer with its place, or null. */
let table = [];

export const several = () => document.querySelector("[name=inputs][value=several]").checked;

/** The inputs to ask now, each {variables, gold, label}. */
export function list() {
  if (!several()) return [{ variables: form.variables(), gold: rows.gold(), label: "" }];
  return table.map((row, index) => ({ variables: { ...form.variables(), ...row.values }, gold: row.gold ?? null, label: `${index + 1} · ${row.values.input ?? ""}` }));
}

/** Why there is nothing to ask; "" when there is. */
export function why() {
  if (several()) return form.unwritten() || (table.length ? "" : "Add rows to the table of inputs first.");
  return form.lacking();
}

export const state = () => ({ inputs: { several: several(), table } });

export function restore({ inputs }) {
  table = inputs?.table ?? [];
  document.querySelector(`[name=inputs][value=${inputs?.several ? "several" : "one"}]`).checked = true;
  draw();
}

const changed = () => { draw(); document.dispatchEvent(new CustomEvent("lab:changed")); };

function draw() {
  const on = several();
  by("inputs-table").hidden = !on;
  by("input").closest(".field").hidden = on;
  by("inputs-list").replaceChildren(...table.map((row, index) => {
    const item = by("inputs-row").content.firstElementChild.cloneNode(true);
    item.firstElementChild.textContent = row.values.input;
    item.firstElementChild.title = `${row.values.input}${row.gold ? ` → ${row.gold.text}` : ""}`;
    const remove = item.querySelector("button");
    remove.setAttribute("aria-label", `Remove input ${index + 1}`);
    remove.addEventListener("click", () => {
      table.splice(index, 1);
      changed();
      (by("inputs-list").children[Math.min(index, table.length - 1)]?.querySelector("button") ?? by("inputs-lines")).focus();
    });
    return item;
  }));
  note();
}

/** What is said of the rows: how many can be judged, and which are shots of the editor's prompt, whose gold answer the model is shown. */
export function note() {
  const prompt = form.prompt();
  const known = table.map((row) => Boolean(row.gold) && shown(prompt, row.values, row.gold));
  [...by("inputs-list").children].forEach((item, index) => { item.querySelector("[data-known]").hidden = !known[index]; });
  const judged = table.filter((row) => row.gold).length;
  const leaks = known.filter(Boolean).length;
  const of = leaks ? ` ${leaks === 1 ? "One is" : `${leaks} are`} among the shots and not judged where the editor's prompt is used.` : "";
  by("inputs-draw").hidden = !rows.dataset();
  by("inputs-note").textContent = table.length ? `${table.length} inputs, ${judged} with a gold answer.${of}${rows.dataset() ? "" : " Choose a dataset to draw rows from its train or validation split."}` : `No input yet: ${rows.dataset() ? "draw rows or paste lines." : "paste lines, or choose a dataset to draw rows from."}`;
}

function complain(sentence) {
  by("inputs-error").replaceChildren(...(sentence ? [Object.assign(document.createElement("p"), { className: "help", textContent: sentence })] : []));
}

function add(found) {
  const room = MOST - table.length;
  complain(found.length > room ? `A table has at most ${MOST} inputs; ${found.length - room} were left out.` : "");
  table = [...table, ...found.slice(0, room)];
  changed();
}

async function take() {
  const wrong = amiss(by("inputs-count"), "Rows") || amiss(by("inputs-seed"), "Seed");
  if (wrong) return complain(wrong);
  const { dataset, split } = rows.state();
  const query = new URLSearchParams({ dataset, split, count: by("inputs-count").value || 8, seed: by("inputs-seed").value || 0 });
  const response = await fetch(`/lab/rows?${query}`, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!response?.ok) {
    if (response) by("inputs-error").innerHTML = await response.text();
    else complain("The server does not answer.");
    return;
  }
  const known = new Set(table.map((row) => JSON.stringify(row.values)));
  add((await response.json()).rows.filter((row) => !known.has(JSON.stringify(row.values))));
}

function paste() {
  const lines = by("inputs-lines").value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!lines.length) return complain("Paste at least one line.");
  by("inputs-lines").value = "";
  return add(lines.map((input) => ({ values: { input }, gold: null })));
}

export function start() {
  for (const radio of document.querySelectorAll("[name=inputs]")) radio.addEventListener("change", changed);
  by("inputs-take").addEventListener("click", take);
  by("inputs-add").addEventListener("click", paste);
}
