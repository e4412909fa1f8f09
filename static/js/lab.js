// The Lab: what stands in the editor, kept as a draft and saved as a prompt; one change, one look. What runs is lab-columns.js.
import { ago } from "./ages.js";
import { find } from "./lab-ask.js";
import { startTurns } from "./lab-chat.js";
import * as columns from "./lab-columns.js";
import * as drafts from "./lab-drafts.js";
import * as engine from "./lab-engine.js";
import * as form from "./lab-form.js";
import * as heat from "./lab-heat.js";
import * as inputs from "./lab-inputs.js";
import * as keeping from "./lab-keep.js";
import * as sight from "./lab-look.js";
import * as marks from "./lab-marks.js";
import * as modes from "./lab-modes.js";
import * as rows from "./lab-rows.js";
import { besides } from "./lab-run.js";
import * as shots from "./lab-shots.js";
import * as test from "./lab-test.js";
import { declare, startVariables } from "./lab-variables.js";
import { owned } from "./owned.js";

const by = (id) => document.getElementById(id);
const DRAFT = owned("lab-draft");
const BEFORE = owned("lab-draft-before");
const PAUSE_MS = 350;
const given = JSON.parse(by("lab-given").textContent);

/** The prompt version's content, to compare by. */
const wording = () => drafts.flat(fields());

declare(given.defaults);
let opened = given.prompt;
let saved = opened ? wording() : null;
let kept = 0;
let ready = false;
let mine = null;

const standing = () => ({ ...form.read(), ...shots.state(), ...rows.state(), ...columns.state(), opened, saved });

// ---- the draft: reload, resize and crash lose nothing ----
function keep() {
  if (!ready) return null;
  if (form.isEmpty() && !inputs.several()) {
    drafts.keep(null);
    return localStorage.removeItem(DRAFT);
  }
  drafts.keep(standing());
  localStorage.setItem(DRAFT, JSON.stringify(standing()));
  kept = Date.now();
  return tell();
}

function tell() {
  by("prompt-changed").hidden = saved === null || saved === wording();
  by("kept").textContent = kept ? `draft kept ${ago(kept, Date.now())}${drafts.where()}` : "";
}

async function restore(draft) {
  ({ opened, saved } = draft);
  form.write(draft);
  name();
  await rows.restore(draft);
  form.writeVariables(draft.variables);
  shots.restore(draft);
  columns.restore(draft);
}

function name() {
  by("prompt-name").textContent = opened ? `${opened.name} v${opened.version}` : "New prompt";
}

// ---- a tuned model brings the prompt it was tuned through ----
const origin = () => columns.first().through;

/** Which prompt the model was tuned through, and the way there or back. */
function note() {
  const { prompt, through } = origin();
  const here = prompt === opened?.reference && saved === wording();
  const offer = !through ? "" : !here ? link("Use its prompt", own) : mine ? link("Bring back mine", back) : "";
  columns.first().parts["note-model"].replaceChildren(through ? `tuned through ${through}${here ? "" : ", not this prompt"}${offer ? ". " : ""}` : "", offer);
}

function link(text, action) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "linkish", textContent: text });
  button.addEventListener("click", () => { action(); form.model().focus(); });
  return button;
}

async function own() {
  const { prompt } = origin();
  if (!prompt || prompt === opened?.reference && saved === wording()) return note();
  const response = await fetch(`/api/v1/prompts/${prompt}`).catch(() => null);
  const version = response?.ok ? await response.json() : null;
  if (!version) return note();
  mine = form.isEmpty() ? null : JSON.stringify({ ...form.read(), opened, saved });
  form.writePrompt(version);
  form.writeParameters(version.parameters);
  [opened, saved] = [{ id: version.id, name: version.name, version: version.version, reference: prompt }, wording()];
  name();
  return changed();
}

function back() {
  const before = JSON.parse(mine);
  ({ opened, saved } = before);
  mine = null;
  form.write({ ...before, model: form.model().value });
  name();
  changed();
}

// ---- paste ----
async function paste(event) {
  event.preventDefault();
  const { found, refused } = await find("/lab/paste", { text: by("paste-text").value });
  if (!found) return void (by("paste-error").innerHTML = refused ?? "");
  const { fields, input } = found;
  drafts.begin();
  [opened, saved] = [null, null];
  form.writePrompt(fields);
  form.writeParameters(fields.parameters);
  form.writeVariables({ input });
  by("paste-error").replaceChildren();
  by("paste-dialog").close();
  name();
  return changed();
}

function empty() {
  drafts.begin();
  [opened, saved] = [null, null];
  form.write({ fields: { input_prefix: "Input:", output_prefix: "Output:" }, variables: {}, model: form.model().value });
  by("saved-menu").hidePopover();
  name();
  changed();
  by("instruction").focus();
}

// ---- one change, one look ----
let pause = 0;
let soon = 0;
function changed() {
  clearTimeout(pause);
  modes.follow();
  shots.describeShots();
  show();
  note();
  tell();
  pause = setTimeout(() => { keep(); look(); }, PAUSE_MS);
}

const look = () => sight.look(Number(columns.first().model), columns.first().remote, show);

/** Everything that follows from what stands there now. */
function show() {
  columns.tell({ engine: engine.there(), ...sight.state() });
  able();
}

/** Can it run, and has anything run yet? */
function able() {
  engine.tell(columns.all().some((column) => !column.remote));
  const reason = columns.why();
  by("why").textContent = reason;
  by("run").setAttribute("aria-disabled", String(Boolean(reason)));
  by("run-all").setAttribute("aria-disabled", String(Boolean(columns.whyNone())));
  const untouched = columns.all().every((column) => column.answers.every((answer) => answer.state === "empty"));
  by("starters").hidden = !form.isEmpty() || !untouched || inputs.several();
  by("columns").classList.toggle("fresh", !by("starters").hidden);
}

function listen() {
  document.addEventListener("lab:changed", changed);
  document.addEventListener("lab:answer", () => { able(); soon ||= setTimeout(() => { soon = 0; keep(); }, PAUSE_MS); });
  // How many shots, and from which seed, changes nothing until they are drawn: lab-rows.js tells then. A table's rows likewise.
  by("lab").addEventListener("input", (event) => { if (!event.target.matches("[name=shots], #count, #draw-seed, .inputs *")) changed(); });
  by("lab").addEventListener("submit", (event) => event.preventDefault());
  by("columns").addEventListener("change", (event) => { if (event.target === form.model()) { mine = null; own(); } });
  by("paste-form").addEventListener("submit", paste);
  by("saved-menu").addEventListener("click", (event) => { if (event.target.closest("#lab-new")) empty(); });
  by("before-back").addEventListener("click", async () => {
    by("before").hidden = true;
    await bring(localStorage.getItem(BEFORE));
    form.focus();
  });
  document.addEventListener("click", (event) => {
    event.target.closest("[data-close]")?.closest("dialog").close();
    const target = event.target.closest("[data-focus]");
    if (target) by(target.dataset.focus).focus();
  });
  by("seen").addEventListener("toggle", look);
  // Before anything else hears of it: what runs is kept as running, and the draft is sent with it.
  addEventListener("pagehide", keep, true);
  setInterval(tell, 5000);
}

const offer = () => { by("before").hidden = false; };

async function bring(text) {
  const draft = JSON.parse(text);
  await restore(draft);
  changed();
  columns.recall(draft);
}

/** Somebody's version is taken instead of what stands here, which can be brought back. */
function take(theirs, version) {
  localStorage.setItem(BEFORE, JSON.stringify(standing()));
  form.writePrompt(theirs);
  form.writeParameters(theirs.parameters);
  settled(version);
  offer();
}

function settled(version) {
  drafts.named(String(version.id));
  [opened, saved] = [version, wording()];
  name();
  keep();
  document.dispatchEvent(new CustomEvent("lab:saved", { detail: opened }));
  changed();
}

function fields() {
  return { ...form.prompt(), parameters: form.readParameters() };
}

/** What a program would ask for: what a column asks of the one input, or of the first of a table. */
const asked = (column = columns.first()) => ({ ...column.body(), variables: inputs.list()[0]?.variables ?? form.variables() });

async function begin() {
  const text = await drafts.latest(given);
  const draft = text && !given.explicit ? JSON.parse(text) : null;
  if (draft) await restore(draft);
  else if (text) {
    localStorage.setItem(BEFORE, text);
    offer();
  }
  if (given.variables) {
    form.nameVariables(Object.keys(given.variables));
    form.writeVariables(given.variables);
  }
  if (given.model) form.choose(form.model(), given.model);
  if (given.dataset) await rows.take(given.dataset);
  if (given.model && !given.explicit) await own();
  ready = true;
  by("lab").inert = false; // what is typed before the draft stands here would be overwritten by it
  history.replaceState(null, "", "/lab");
  changed();
  if (draft) columns.recall(draft);
  else if (given.ticket) columns.recall({ answers: [[{ ticket: given.ticket, gold: null, over: true }]], bars: given.weighed });
}

for (const begins of [rows.start, modes.start, shots.startShots, startTurns, startVariables, columns.start]) begins();
marks.start(by("columns"));
heat.start();
engine.start(given.engine, changed);
test.start({ opened: () => opened, took: (reference) => { [opened, saved] = [reference, wording()]; name(); keep(); }, fields, take });
besides.session = keeping.session();
drafts.start({ write: bring, tell, offer, keep });
keeping.start({ opened: () => opened, fields, body: asked, saved: settled, take });
listen();
begin();
