// The Lab: what stands in the editor, kept as a draft, shown as the model sees it, counted, run, and saved as a prompt.
import { ago } from "./ages.js";
import * as answer from "./lab-answer.js";
import * as form from "./lab-form.js";
import * as rows from "./lab-rows.js";
import { post } from "./lab-stream.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const DRAFT = "lab-draft";
const BEFORE = "lab-draft-before";
const PAUSE_MS = 350;
const given = JSON.parse(by("lab-given").textContent);

/** The prompt version's content, to compare by. */
const wording = () => JSON.stringify({ ...form.prompt(), parameters: form.readParameters() });

let opened = given.prompt;
let saved = opened ? wording() : null;
let engine = given.engine;
let problem = null;
let sections = [];
let kept = 0;
let counting = null;
let ready = false;
let mine = null;

/** POST to a page's own request; a refusal is answered with the part that says why. Null when nobody answers. */
async function ask(url, body) {
  const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json", "HX-Request": "true" }, body: JSON.stringify(body) }).catch(() => null);
  if (response?.status === 401) location.assign("/sign-in");
  return response;
}

// ---- the draft: reload, resize and crash lose nothing ----
function keep() {
  if (!ready) return null;
  if (form.isEmpty()) return localStorage.removeItem(DRAFT);
  localStorage.setItem(DRAFT, JSON.stringify({ ...form.read(), ...rows.state(), opened, saved }));
  kept = Date.now();
  return tell();
}

function tell() {
  by("prompt-changed").hidden = saved === null || saved === wording();
  by("kept").textContent = kept ? `draft kept ${ago(kept, Date.now())}` : "";
}

async function restore(text) {
  const draft = JSON.parse(text);
  ({ opened, saved } = draft);
  form.write(draft);
  name();
  await rows.restore(draft);
  form.writeVariables(draft.variables);
}

function name() {
  by("prompt-name").textContent = opened ? `${opened.name} v${opened.version}` : "New prompt";
}

// ---- what the model sees, and what it costs ----
async function look() {
  const response = await ask("/lab/preview", { prompt: form.prompt(), variables: form.variables() });
  if (!response?.ok) return;
  by("preview").innerHTML = await response.text();
  const told = by("preview").querySelector("[data-preview]").dataset;
  problem = told.problem ? `${told.problem} ${told.advice}` : null;
  engine = told.engine === "on";
  sections = JSON.parse(told.sections);
  awayNote();
  by("template-error").hidden = !problem;
  by("template-error").textContent = problem ?? "";
  by("instruction").setAttribute("aria-invalid", String(Boolean(problem)));
  why();
  count();
}

/** A model behind an endpoint needs no engine process here. */
const remote = () => by("model").selectedOptions[0]?.hasAttribute("data-remote") ?? false;
const awayNote = () => { by("away").hidden = engine || remote() || !by("failure").hidden; };

async function count() {
  counting?.abort();
  if (!(engine || remote()) || problem || !by("model").value || !by("input").value) return (by("tokens").textContent = "");
  counting = new AbortController();
  try {
    const response = await post("/api/v1/generate/count", { model: Number(by("model").value), prompt: form.prompt(), variables: form.variables() }, counting.signal);
    by("tokens").textContent = costs(await response.json());
  } catch (error) {
    if (error.name !== "AbortError") by("tokens").textContent = `Not counted: ${error.message}`;
  }
  return null;
}

/** "61 instruction + 212 shots + 38 input = 311 tokens"; each shot says on hover what it costs. */
function costs({ total, parts, template, estimated }) {
  if (estimated) return `about ${total.toLocaleString("en")} tokens; the endpoint counts them when it answers`;

  const sizes = {};
  parts.forEach((size, index) => { sizes[sections[index]] = (sizes[sections[index]] ?? 0) + size; });
  const shots = [...by("shots").children].map((item, index) => {
    const size = sizes[`shot ${index + 1}`] ?? 0;
    item.title = `${size.toLocaleString("en")} tokens`;
    return size;
  });
  const named = [["instruction", sizes.instruction], ["shots", shots.reduce((sum, size) => sum + size, 0)], ["input", sizes.input], ["frame", template]].filter(([, size]) => size);
  const words = named.map(([key, size]) => `${size.toLocaleString("en")} ${key}`).join(" + ");
  return `${named.length > 1 ? `${words} = ` : ""}${total.toLocaleString("en")} tokens`;
}

// ---- run ----
function why() {
  const reason = !by("model").value ? "There is no model yet." : problem ? "Mend the prompt first." : !by("input").value.trim() ? "Give an input first." : form.badParameter();
  by("why").textContent = reason;
  by("run").setAttribute("aria-disabled", String(Boolean(reason)));
  return reason;
}

const body = () => ({ model: Number(by("model").value), prompt: form.prompt(), variables: form.variables(), parameters: form.readParameters() });
const mark = () => answer.mark(rows.gold(), body());

function run() {
  if (answer.running() || why()) return;
  answer.run(body(), mark, remote() ? "endpoint" : "engine");
  by("answer").scrollIntoView({ block: "nearest" });
}

// ---- a tuned model brings the prompt it was tuned through ----
const origin = () => by("model").selectedOptions[0]?.dataset ?? {};

/** Which prompt the model was tuned through, and the way there or back. */
function note() {
  const { prompt, through } = origin();
  const here = prompt === opened?.reference && saved === wording();
  const offer = !through ? "" : !here ? link("Use its prompt", own) : mine ? link("Bring back mine", back) : "";
  by("model-note").replaceChildren(through ? `tuned through ${through}${here ? "" : ", not this prompt"}${offer ? ". " : ""}` : "", offer);
}

function link(text, action) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "linkish", textContent: text });
  button.addEventListener("click", () => { action(); by("model").focus(); });
  return button;
}

async function own() {
  const { prompt } = origin();
  if (!prompt || prompt === opened?.reference && saved === wording()) return note();
  const response = await fetch(`/api/v1/prompts/${prompt}`).catch(() => null);
  const version = response?.ok ? await response.json() : null;
  if (!version || version.mode !== "structured") return note();
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
  form.write({ ...before, model: by("model").value });
  name();
  changed();
}

// ---- save, paste ----
function title() {
  by("save-name").value = opened?.name ?? "";
  by("save-name-help").textContent = opened ? `The same name makes version ${opened.version + 1} or later; another name makes a new prompt.` : "Say in a word or two what it does.";
  by("save-error").hidden = true;
  by("save-dialog").showModal();
}

async function save(event) {
  event.preventDefault();
  const chosen = by("save-name").value.trim();
  const fields = { ...form.prompt(), parameters: form.readParameters() };
  const next = opened && opened.name === chosen;
  try {
    const response = await post(next ? `/api/v1/prompts/${opened.id}/versions` : "/api/v1/prompts", next ? fields : { name: chosen, ...fields });
    const { id, version } = await response.json();
    [opened, saved] = [{ id, version, name: chosen, reference: `${id}@${version}` }, wording()];
  } catch (error) {
    by("save-error").hidden = false;
    by("save-error").textContent = `${error.message} ${error.advice ?? ""}`;
    return;
  }
  by("save-dialog").close();
  name();
  keep();
  toast({ text: `Saved as ${opened.name} v${opened.version}.` });
  const menu = await fetch(`/lab/prompts?prompt=${opened.reference}`).catch(() => null);
  if (menu?.ok) by("saved-menu").innerHTML = await menu.text();
}

async function paste(event) {
  event.preventDefault();
  const response = await ask("/lab/paste", { text: by("paste-text").value });
  if (!response?.ok) return void (by("paste-error").innerHTML = response ? await response.text() : "");
  const { fields, input } = await response.json();
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
  [opened, saved] = [null, null];
  form.write({ fields: { input_prefix: "Input:", output_prefix: "Output:" }, variables: {}, model: by("model").value });
  by("saved-menu").hidePopover();
  name();
  changed();
  by("instruction").focus();
}

// ---- one change, one look ----
let pause = 0;
function changed() {
  clearTimeout(pause);
  rows.describeShots();
  by("changed").textContent = form.parameterWords();
  by("starters").hidden = !form.isEmpty() || !by("answer").hidden;
  by("waiting").hidden = !by("starters").hidden || !by("answer").hidden;
  mark();
  note();
  why();
  tell();
  pause = setTimeout(() => { keep(); look(); }, PAUSE_MS);
}

function listen() {
  document.addEventListener("lab:changed", changed);
  // How many shots, and from which seed, changes nothing until they are drawn: lab-rows.js tells then.
  for (const area of [by("lab"), by("parameters")]) area.addEventListener("input", (event) => { if (!event.target.matches("[name=shots], #count, #draw-seed")) changed(); });
  by("lab").addEventListener("submit", (event) => event.preventDefault());
  by("model").addEventListener("change", () => { mine = null; awayNote(); own(); changed(); });
  by("parameters-reset").addEventListener("click", () => { form.writeParameters({}); changed(); });
  for (const id of ["run", "retry"]) by(id).addEventListener("click", run);
  by("save").addEventListener("click", title);
  by("save-form").addEventListener("submit", save);
  by("paste-form").addEventListener("submit", paste);
  by("saved-menu").addEventListener("click", (event) => { if (event.target.closest("#lab-new")) empty(); });
  by("before-back").addEventListener("click", async () => { await restore(localStorage.getItem(BEFORE)); by("before").hidden = true; changed(); });
  document.addEventListener("click", (event) => {
    event.target.closest("[data-close]")?.closest("dialog").close();
    const target = event.target.closest("[data-focus]");
    if (target) by(target.dataset.focus).focus();
  });
  addEventListener("pagehide", keep);
  setInterval(tell, 5000);
}

async function begin() {
  const draft = localStorage.getItem(DRAFT);
  if (draft && given.explicit) {
    localStorage.setItem(BEFORE, draft);
    by("before").hidden = false;
  } else if (draft) await restore(draft);
  if (given.model) form.choose(by("model"), given.model);
  if (given.dataset) await rows.take(given.dataset);
  if (given.model && !given.explicit) await own();
  ready = true;
  history.replaceState(null, "", "/lab");
  changed();
}

rows.start();
answer.start();
listen();
begin();
