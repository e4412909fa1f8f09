// The columns beside the editor: how many, in which order, what runs, and what they have in common (difference from the first, label bars).
import * as bars from "./lab-bars.js";
import { Column, blank, offer } from "./lab-column.js";
import * as inputs from "./lab-inputs.js";
import { recall as find } from "./lab-recall.js";
import { pending } from "./lab-shots.js";
import { send, stop as stopAnswers } from "./lab-run.js";
import { standIn } from "./lab-words.js";

const by = (id) => document.getElementById(id);
const MOST = 6;
const strip = by("columns");
const list = [new Column(strip.querySelector("[data-column]"))];
let page = { engine: true, problem: null, crowded: "" };

export const first = () => list[0];
export const all = () => list;
const answers = () => list.flatMap((column) => column.answers);
const letter = (column) => "ABCDEF"[list.indexOf(column)];
const changed = () => document.dispatchEvent(new CustomEvent("lab:changed"));

/** The column that has the keyboard, else the first. */
const focused = () => list.find((column) => column.element.contains(document.activeElement)) ?? first();

/** Why a column cannot run, or "". */
export const why = (column = focused()) => column.why(page) || inputs.why() || (column.version ? "" : pending()) || (column === first() ? page.crowded : "");

/** Why none of them can run, or "". */
export const whyNone = () => (list.some((column) => !why(column)) ? "" : why(first()));

// ---- run ----
function begin(answer, row) {
  const { column } = answer;
  answer.begin({ column: column.body(), variables: row.variables }, row.gold, column.place);
  return answer;
}

/** Run columns over all inputs; what runs already goes on. */
function run(columns) {
  const given = inputs.list();
  const able = columns.filter((column) => !column.running && !why(column));
  // Input by input, so that a row can be compared as soon as it stands.
  send(given.flatMap((row, index) => able.map((column) => begin(column.answers[index], row))));
}

export const runFocused = () => run([focused()]);
export const runAll = () => run(list);
export const stop = () => halt(answers());

/** End what some answers ask for, and the weighing of labels behind them. */
function halt(some) {
  bars.stop(some);
  stopAnswers(some);
}

function again(answer) {
  if (!answer.running && !why(answer.column)) send([begin(answer, inputs.list()[answer.row])]);
}

// ---- which columns ----
function insert(column, at) {
  list.splice(at, 0, column);
  strip.insertBefore(column.element, strip.children[at] ?? null);
}

function add(source, at = list.length) {
  if (list.length >= MOST) return;
  const column = new Column();
  column.restore(source.state());
  insert(column, at);
  changed();
  column.parts.model.focus();
}

/** Only a column with the editor's prompt can be the first. */
const mayLead = (column) => Boolean(column) && !column.version;

function allowed(column, what) {
  const at = list.indexOf(column);
  if (what === "duplicate") return list.length < MOST;
  if (what === "remove") return list.length > 1 && (at > 0 || mayLead(list[1]));
  if (what === "left") return at > 1 || (at === 1 && mayLead(column));
  return at < list.length - 1 && (at > 0 || mayLead(list[1]));
}

function move(column, by_) {
  const at = list.indexOf(column);
  list.splice(at, 1);
  column.element.remove();
  insert(column, at + by_);
  changed();
  column.element.querySelector("[popovertarget]").focus();
}

function remove(column) {
  halt(column.answers);
  const at = list.indexOf(column);
  list.splice(at, 1);
  column.close();
  changed();
  list[Math.min(at, list.length - 1)].parts.model.focus();
}

const DO = {
  run: (column) => run([column]),
  stop: (column) => halt(column.answers),
  reset: (column) => { column.restore({ ...column.state(), parameters: {} }); changed(); },
  duplicate: (column) => add(column, list.indexOf(column) + 1),
  left: (column) => move(column, -1),
  right: (column) => move(column, 1),
  remove,
};
const IN_MENU = ["duplicate", "left", "right", "remove"];
/** In the menu too, but lab-keep.js does it. */
const CODE = "code";

function act(event) {
  const button = event.target.closest("[data-do]");
  const column = event.target.closest("[data-column]")?.column;
  if (!button || !column || button.getAttribute("aria-disabled") === "true") return;
  const answer = button.closest("[data-answer]")?.answer;
  if ([...IN_MENU, CODE].includes(button.dataset.do)) button.closest("[popover]").hidePopover();
  if (answer && ["retry", "again"].includes(button.dataset.do)) again(answer);
  else DO[button.dataset.do]?.(column);
}

/** A tuned model brings the prompt it was tuned through, a saved version its parameters. (In the first column both are the editor's own: lab.js.) */
async function chose(column, field) {
  if (field === column.parts.model && column.through.prompt) column.parts.prompt.value = column.through.prompt;
  else if (field !== column.parts.prompt) return;
  const { version } = column;
  const response = version ? await fetch(`/api/v1/prompts/${version}`).catch(() => null) : null;
  if (!response?.ok || column.version !== version) return;
  column.restore({ ...column.state(), parameters: (await response.json()).parameters });
  changed();
}

// ---- what they have in common ----
function compare(row) {
  const [lead, ...others] = list.map((column) => column.answers[row]);
  if (!lead) return;
  for (const answer of [lead, ...others].filter(Boolean)) {
    const on = by("diff").checked && answer !== lead && answer.finished && lead.finished;
    // A second answer beside the lead's second one; where that has none, beside its first.
    answer.texts.forEach((text, index) => text.compare(on ? (lead.texts[index] ?? lead.texts[0]).text : null));
  }
}

/** The heads of the columns, and which buttons there are. */
function heads() {
  const alone = list.length === 1;
  for (const column of list) {
    column.tell({ letter: letter(column), alone, first: column === first(), reason: column.why(page) });
    for (const name of IN_MENU) column.button(name).setAttribute("aria-disabled", String(!allowed(column, name)));
  }
  by("lab-panes").classList.toggle("one", alone);
  by("diff-field").hidden = alone;
  by("add-column").setAttribute("aria-disabled", String(list.length >= MOST));
  const going = list.some((column) => column.running) || bars.weighing();
  standIn([by("run"), first().running], [by("stop"), !going], [by("run-all"), alone || list.every((column) => column.running)]);
  bars.tell();
}

/** Say again what stands on the page after something was changed. `now` is {engine, problem, crowded}. */
export function tell(now = page) {
  page = now;
  const given = inputs.list();
  for (const column of list) {
    const body = column.body();
    column.size(given.length, inputs.several()).forEach((answer, index) => {
      answer.parts.input.textContent = answer.parts.input.title = given[index].label;
      answer.compare({ column: body, variables: given[index].variables }, given[index].gold);
    });
  }
  given.forEach((_, row) => compare(row));
  strip.style.setProperty("--rows", given.length);
  inputs.note();
  strip.classList.toggle("table-of", inputs.several());
  heads();
}

export function state() {
  const kept = list.map((column) => column.answers.map((answer) => answer.kept()));
  return { columns: list.slice(1).map((column) => column.state()), ...inputs.state(), bars: bars.state(), diff: by("diff").checked, ...(kept.flat().some(Boolean) && { answers: kept }) };
}

/** Bring back a draft's answers, once its columns and inputs stand. Where something was asked since, that stays. */
export function recall({ answers: kept = [], bars: weighed, diff }) {
  bars.restore(weighed);
  by("diff").checked = Boolean(diff);
  const sought = answers().filter((answer) => answer.state === "empty" && kept[list.indexOf(answer.column)]?.[answer.row]);
  for (const answer of sought) answer.seek(kept[list.indexOf(answer.column)][answer.row]);
  find(sought);
}

/** Bring back a draft's other columns; the first one's model and parameters are the editor's own. */
export function restore(draft) {
  for (const column of list.splice(1)) column.close();
  for (const given of (draft.columns ?? []).slice(0, MOST - 1)) {
    const column = new Column();
    column.restore(given);
    insert(column, list.length);
  }
  inputs.restore(draft);
}

/** A version was saved: every column may use it from now on. */
const offered = ({ detail }) => { for (const element of [blank, ...list.map((column) => column.element)]) offer(element, detail); };

export function start() {
  strip.addEventListener("click", act);
  // Run goes where Stop comes: a key that is held down means one of them only.
  document.addEventListener("keydown", (event) => { if (event.repeat && event.key === "Enter" && event.target.closest?.("button")) event.preventDefault(); });
  strip.addEventListener("input", changed);
  strip.addEventListener("change", (event) => {
    const { column } = event.target.closest("[data-column]");
    if (column !== first()) chose(column, event.target);
    changed();
  });
  strip.addEventListener("lab:answer", ({ detail: answer }) => {
    heads();
    compare(answer.row);
    answer.compare({ column: answer.column.body(), variables: inputs.list()[answer.row]?.variables ?? {} }, null);
    bars.follow(answer);
  });
  strip.addEventListener("lab:judged", heads);
  document.addEventListener("lab:weighing", heads);
  by("add-column").addEventListener("click", () => add(list.at(-1)));
  by("diff").addEventListener("change", changed);
  by("run").addEventListener("click", runFocused);
  by("run-all").addEventListener("click", runAll);
  by("stop").addEventListener("click", stop);
  document.addEventListener("lab:saved", offered);
  inputs.start();
  bars.start(answers);
}
