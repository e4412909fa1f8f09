// The labelling queue: one unlabelled row at a time, a model's suggestions for the next rows fetched ahead, one key to accept or correct.
import { openPicker } from "./label-picker.js";
import { Problem, post } from "./lab-stream.js";
import { askToSave, making, saved } from "./save-labels.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const given = JSON.parse(by("given")?.textContent ?? "null");
const base = `/api/v1/datasets/${given?.dataset}`;
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const names = new Map(given?.labels.map((label) => [label.key, label.display]));
const suggested = new Map();
const asked = new Set();
let rows = [];
let skipping = false;
let close = null;
let trouble = "";
let line = Promise.resolve();
let turns = 0;
let unsent = 0;
let ended = false; // whether the server has said that no more rows come
let unreached = false;
let shown = null; // the row that is drawn
const answered = new Map(); // the turn in which a row was given a label or skipped: what the server told before knows nothing of it
const pile = []; // what was given here, and not taken back

const now = () => rows[0] ?? null;
const model = () => by("model")?.value ?? "";

/** Send what was given or taken back in the order it was, whatever is under way: what is undone is the last one, and what stands last is what is told. */
function inTurn(send) {
  turns += 1;
  unsent += 1;
  const sent = line.then(send).finally(() => { unsent -= 1; });
  line = sent.catch(() => null);
  return sent;
}

/** What number keys stand for: a model's likeliest labels, else the book's first nine. */
const choices = () => suggested.get(now()?.id) ?? (model() && !trouble ? [] : given.labels.slice(0, 9));

// ---- drawing ----
function draw() {
  const row = now();
  shown = row?.id ?? null;
  close?.();
  for (const id of ["card", "other", "skip", "ahead-part"]) by(id).hidden = !row;
  by("skip").parentElement.hidden = !row;
  by("done").hidden = Boolean(row) || !ended;
  by("coming").hidden = Boolean(row) || ended;
  by("coming").textContent = unreached ? "The next rows could not be fetched. What you gave is kept; reload the page." : "The next rows are on their way…";
  if (!row) return finished();
  by("card-place").textContent = `Row ${(row.position + 1).toLocaleString("en")}${row.skipped ? ", skipped before" : ""}`;
  by("text").textContent = row.input;
  drawChoices();
  by("ahead").replaceChildren(...rows.slice(1, 4).map((one) => Object.assign(document.createElement("li"), { className: "clip", textContent: one.input })));
  by("ahead-part").hidden = rows.length < 2;
}

function drawChoices() {
  const found = choices();
  by("waiting").textContent = found.length ? "" : model() && given.labels.length ? trouble || "The model is reading…" : "";
  if (trouble && model()) by("waiting").textContent = trouble;
  by("choices").replaceChildren(...found.map(choice));
}

function choice({ key, display, share }, index) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", className: "choice" });
  const number = Object.assign(document.createElement("kbd"), { textContent: index + 1 });
  button.append(number, Object.assign(document.createElement("span"), { textContent: display }));
  if (share !== undefined) {
    const bar = Object.assign(document.createElement("progress"), { max: 1, value: share, ariaHidden: "true" });
    button.append(bar, Object.assign(document.createElement("span"), { className: "num faint small", textContent: percent(share) }));
  }
  button.addEventListener("click", () => give(key));
  item.append(button);
  return item;
}

function finished() {
  const { skipped, labelled } = given.progress;
  by("done-text").textContent = `${labelled.toLocaleString("en")} labelled${labelled ? ", not saved yet" : ""}${skipped ? `; ${skipped.toLocaleString("en")} skipped` : ""}.`;
  by("again").hidden = !skipped;
}

function tell(progress) {
  given.progress = progress;
  const { labelled, skipped, unlabelled, changed } = progress;
  by("progress").textContent = `${labelled.toLocaleString("en")} of ${unlabelled.toLocaleString("en")} labelled${skipped ? `, ${skipped.toLocaleString("en")} skipped` : ""}`;
  by("meter").value = labelled;
  by("changes").textContent = changed ? `${changed.toLocaleString("en")} not saved` : "";
  by("save").setAttribute("aria-disabled", String(!changed));
}

// ---- rows and suggestions, fetched ahead ----
async function more() {
  const turn = turns;
  await line;
  const after = rows.at(-1)?.position ?? -1;
  const response = await fetch(`${base}/queue?${new URLSearchParams({ limit: given.ahead, after })}`).catch(() => null);
  unreached = !response?.ok;
  if (unreached) return;
  const { items, progress } = await response.json();
  const there = new Set(rows.map((row) => row.id));
  rows.push(...items.filter((row) => !there.has(row.id) && !(answered.get(row.id) > turn) && (skipping || !row.skipped)));
  if (turn !== turns) return; // its counts may be of a time before; who gave a label since asks again
  ended = !rows.length;
  tell(progress);
}

async function fill() {
  if (rows.length < given.ahead) await more();
  if (!rows.length || shown !== now().id) draw();
  if (document.activeElement === document.body) by("card").focus({ preventScroll: true });
  suggest();
}

async function suggest() {
  const wanted = rows.filter((row) => !suggested.has(row.id) && !asked.has(row.id)).slice(0, given.ahead);
  if (!model() || given.labels.length < 2 || !wanted.length || asked.size) return;
  const mine = model() + by("prompt").value;
  for (const row of wanted) asked.add(row.id);
  try {
    // The row on the screen is wanted first; the others follow together and share what their prompts begin with.
    const parts = suggested.has(now()?.id) ? [wanted] : [wanted.slice(0, 1), wanted.slice(1)];
    for (const part of parts.filter((one) => one.length)) {
      const answer = await post(`/api/v1/datasets/${given.reference}/suggestions`, { rows: part.map((row) => row.id), model: Number(model()), prompt_version: by("prompt").value || null });
      if (mine !== model() + by("prompt").value) return;
      trouble = "";
      for (const { example, choices: list } of (await answer.json()).items) suggested.set(example, list);
      if (part.some((row) => row.id === now()?.id)) drawChoices();
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    trouble = `No suggestions: ${error.message} ${error.advice}`;
    drawChoices();
    return;
  } finally {
    asked.clear();
  }
  suggest();
}

// ---- giving ----
async function give(key, skipped = false) {
  const row = now();
  if (!row) return;
  const assisted = !skipped && suggested.has(row.id);
  const mine = { failed: false };
  pile.push(mine);
  rows.shift();
  ended = false;
  if (skipped) skipping = skipping && rows.length > 0;
  draw();
  by("card").focus({ preventScroll: true });
  const sent = inTurn(async () => {
    mine.failed = true;
    const told = await (await post(`${base}/annotations`, { example: row.id, output: key, assisted, skipped })).json();
    mine.failed = false;
    return told;
  });
  answered.set(row.id, turns);
  try {
    tell(await sent);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (pile.includes(mine)) pile.splice(pile.indexOf(mine), 1);
    answered.delete(row.id);
    rows.unshift(row);
    draw();
    toast({ text: `Not set: ${error.message} ${error.advice}` });
  }
  fill();
}

async function undo() {
  const last = pile.pop();
  try {
    // One that was on its way and failed is back already: what was given before it stays.
    const told = await inTurn(async () => (last?.failed ? null : (await post(`${base}/annotations/undo`, {})).json()));
    if (!told) return;
    const { undone, row, progress } = told;
    tell(progress);
    answered.delete(row?.id);
    if (!undone) toast({ text: "There is nothing to take back." });
    if (row && row.split === "unlabelled") rows = [row, ...rows.filter((one) => one.id !== row.id)];
    else if (undone) toast({ text: "Taken back, in a row that is not in this queue." });
    draw();
    fill();
    by("card").focus({ preventScroll: true });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (last) pile.push(last);
    toast({ text: `${error.message} ${error.advice}` });
    fill();
  }
}

function find(text = "") {
  if (!now()) return;
  close?.();
  const end = (then) => { close = null; by("find").hidden = true; then?.(); by("card").focus({ preventScroll: true }); };
  by("find").hidden = false;
  close = openPicker(by("find"), {
    labels: given.labels, text, now: null,
    choose: (key) => end(() => { if (given.labels.length && !names.has(key)) learn(key); give(key); }),
    leave: () => end(),
  });
}

function learn(key) {
  names.set(key, key);
  given.labels.push({ key, display: key, description: "", aliases: [], none: false });
}

by("card")?.addEventListener("keydown", (event) => {
  if (event.target !== by("card") || event.metaKey || event.ctrlKey || event.altKey) return;
  const pressed = choices()[Number(event.key) - 1];
  const nothing = event.key === "0" && given.labels.find((label) => label.none);
  const act = event.key === "Enter" ? () => (suggested.has(now()?.id) ? give(choices()[0].key) : find())
    : pressed && event.key !== " " ? () => give(pressed.key)
      : nothing ? () => give(nothing.key)
        : event.key === "/" ? () => find()
          : event.key.length === 1 && event.key.trim() && !["s", "u", "?"].includes(event.key) ? () => find(event.key) : null;
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
});

/** Another model or prompt: what the last one said is forgotten. */
function chosen() {
  suggested.clear();
  trouble = "";
  by("prompt-field").hidden = !model();
  localStorage.setItem(`queue-${given.dataset}`, JSON.stringify({ model: model(), prompt: by("prompt").value }));
  drawChoices();
  suggest();
  if (now()) by("card").focus({ preventScroll: true });
}

function restore() {
  const { model: id = "", prompt = "" } = JSON.parse(localStorage.getItem(`queue-${given.dataset}`) ?? "{}");
  for (const [select, value] of [[by("model"), id], [by("prompt"), prompt]]) if ([...select.options].some((option) => option.value === value)) select.value = value;
  by("prompt-field").hidden = !model();
  by("model").addEventListener("change", chosen);
  by("prompt").addEventListener("change", chosen);
}

async function start() {
  tell(given.progress);
  if (by("model")) restore();
  by("undo").addEventListener("click", undo);
  by("skip").addEventListener("click", () => give(null, true));
  by("other").addEventListener("click", () => find());
  by("again").addEventListener("click", () => { skipping = true; ended = false; draw(); fill(); });
  by("save").addEventListener("click", () => askToSave(`${given.progress.changed.toLocaleString("en")} rows get their label.`, async (reason) => {
    const version = await inTurn(async () => (await post(`${base}/annotations/save`, { reason })).json()).catch((error) => {
      fill(); // rows that were on their way meanwhile could not say whether they were the last
      throw error;
    });
    return version.upload ? making(version) : { href: location.pathname, text: `Saved as version ${version.version}.${version.clashing ? ` ${version.clashing} were changed by somebody else and are kept in the grid.` : ""}` };
  }));
  await fill();
  if (document.activeElement === document.body) by("card").focus({ preventScroll: true });
}

// A browser asks whether to leave while labels are on their way.
addEventListener("beforeunload", (event) => { if (unsent) event.preventDefault(); });

const note = saved();
if (note) toast({ text: note, href: `/datasets/${location.pathname.split("/")[2]}`, link: "Show it" });
if (given && by("card")) start();
