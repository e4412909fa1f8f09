// "Test on validation…": what the columns' tests over a split would take, then the jobs, then a chip for each that says how it stands.
import { newer } from "./lab-clash.js";
import * as columns from "./lab-columns.js";
import { ask } from "./lab-ask.js";
import * as rows from "./lab-rows.js";
import { drawnNear } from "./lab-shots.js";
import { Problem, post } from "./lab-stream.js";
import { owned } from "./owned.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const KEPT = owned("lab-tests");
const MOST = 6;
const LOOK_MS = 1500;
const PAUSE_MS = 250;
let turn = 0;
let hooks = { opened: () => null };

const chosen = (name) => document.querySelector(`[name=${name}]:checked`).value;

/** The request: every column as it stands now. */
function wanted() {
  return {
    columns: columns.all().map((column) => ({ ...column.body(), latency_ms: column.answers.findLast((answer) => answer.latency)?.latency ?? null })),
    dataset: rows.dataset(),
    split: by("test-split").value,
    answer: by("test-answer").value,
    limit: Number(by("test-limit").value) || null,
    every: chosen("test-every") === "every",
    under: hooks.opened()?.id ?? null,
    based_on: hooks.opened()?.version ?? null,
    nearest: drawnNear(),
    fit: by("test-fit").value,
  };
}

let fitting = { key: "", asked: null };

/** How the rows fit each line of the plan. The policy does not change that, so it is asked once for all of them. */
async function fits(body) {
  const key = JSON.stringify({ ...body, columns: body.columns.map((column) => ({ ...column, latency_ms: null })), fit: "refuse" });
  if (fitting.key !== key) {
    const asked = ask("/lab/test/fit", { ...body, fit: "refuse" }).then((response) => (response?.ok ? response.json() : null));
    fitting = { key, asked };
    asked.then((told) => { if (fitting.asked === asked && !told?.fits.every((one) => one.too_long !== null)) fitting = { key: "", asked: null }; });
  }
  return (await fitting.asked)?.fits ?? [];
}

async function tellFit(body, mine) {
  const found = await fits(body);
  if (mine !== turn) return;
  by("test-plan").querySelectorAll("[data-fit]").forEach((cell, at) => { cell.textContent = found[at]?.sentence ?? ""; });
  const refuses = by("test-plan").querySelector("[data-refuses]");
  if (refuses) refuses.hidden = body.fit !== "refuse" || !found.some((one) => one.too_long);
}

async function plan() {
  turn += 1;
  const mine = turn;
  by("test-name").textContent = by("test-split").value;
  by("test-start").setAttribute("aria-disabled", "true");
  const body = wanted();
  const response = await ask("/lab/test/plan", body);
  if (mine !== turn) return;
  by("test-plan").innerHTML = response ? await response.text() : "";
  const told = by("test-plan").querySelector("[data-plan]")?.dataset;
  by("test-start").setAttribute("aria-disabled", String(!told?.ok));
  if (told) tellFit(body, mine);
}

function open() {
  if (by("test").getAttribute("aria-disabled") === "true") return;
  const splits = rows.splits();
  for (const option of by("test-split").options) option.disabled = !splits[option.value];
  if (by("test-split").selectedOptions[0].disabled) by("test-split").value = Object.keys(splits)[0];
  const refused = columns.all().map((column) => column.unweighed).find(Boolean) ?? "";
  const likelihood = by("test-answer").querySelector("[value=likelihood]");
  likelihood.disabled = Boolean(refused);
  likelihood.title = by("test-answer").title = refused;
  if (refused) by("test-answer").value = "generate";
  by("test-every-field").hidden = columns.all().length === 1;
  by("test-plan").replaceChildren();
  fitting = { key: "", asked: null };
  by("test-dialog").showModal();
  plan();
}

/** Start the tests; a newer version of the editor's prompt is shown first, and saved over only when the person says so. Null where theirs is taken: it has not been looked at. */
async function queue(body) {
  try {
    return await (await post("/lab/test", body)).json();
  } catch (error) {
    if (!error.newest) throw error;
    const [{ newest }, { id, name, version }] = [error, hooks.opened()];
    by("test-dialog").close();
    if ((await newer({ version }, newest, hooks.fields())) !== "theirs") return queue({ ...body, based_on: newest.version });
    hooks.take(newest, { id, name, version: newest.version, reference: `${id}@${newest.version}` });
    toast({ text: `This is ${name} v${newest.version} now, and nothing was tested; yours is kept as the earlier draft.` });
    return null;
  }
}

async function send(event) {
  event.preventDefault();
  if (by("test-start").getAttribute("aria-disabled") === "true") return;
  by("test-start").setAttribute("aria-disabled", "true");
  const body = wanted();
  try {
    const done = await queue(body);
    by("test-dialog").close();
    if (!done) return;
    if (body.columns[0].prompt) hooks.took(done.opened);
    document.dispatchEvent(new CustomEvent("lab:saved", { detail: done.opened }));
    keep([...done.jobs, ...kept()].slice(0, MOST));
    toast({ text: done.jobs.length === 1 ? "The test is queued." : `${done.jobs.length} tests are queued.`, href: "/jobs", link: "Jobs" });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    toast({ text: error.message });
    plan();
  }
}

// ---- the chips ----
const kept = () => JSON.parse(localStorage.getItem(KEPT) ?? "[]");

function keep(jobs) {
  localStorage.setItem(KEPT, JSON.stringify(jobs));
  watch();
}

let timer = 0;
async function watch() {
  clearTimeout(timer);
  const jobs = kept();
  by("tests").hidden = !jobs.length;
  if (!jobs.length) return;
  if (!document.hidden) {
    const response = await fetch(`/lab/tests?${jobs.map((job) => `job=${job}`).join("&")}`).catch(() => null);
    const text = response?.ok ? await response.text() : null;
    if (text !== null && by("tests").said !== text) draw(text);
    // Once all are over they stand still until the page is left.
    if (text !== null && !by("tests").querySelector("[data-job]:not([data-over])")) return;
  }
  timer = setTimeout(watch, LOOK_MS);
}

function draw(text) {
  const held = by("tests").contains(document.activeElement) ? document.activeElement : null;
  by("tests").said = text;
  by("tests").innerHTML = text;
  const going = [...by("tests").querySelectorAll("[data-job]:not([data-over])")].map((chip) => chip.dataset.job);
  const clear = Object.assign(document.createElement("button"), { type: "button", className: "button small quiet", textContent: "Clear" });
  clear.setAttribute("aria-label", "Take the finished tests off the bar");
  clear.addEventListener("click", () => { by("tests").replaceChildren(); keep(kept().filter((job) => going.includes(String(job)))); by("test").focus(); });
  if (by("tests").querySelector("[data-over]")) {
    const item = document.createElement("li");
    item.append(clear);
    by("tests").append(item);
  }
  if (held) (by("tests").querySelector(`[data-job="${held.dataset.job}"]`) ?? clear).focus();
}

function tell() {
  const reason = rows.dataset() ? "" : "Choose a dataset first: a test needs rows with gold answers.";
  by("test").setAttribute("aria-disabled", String(Boolean(reason)));
  by("test").title = by("test-why").textContent = reason;
}

/** hooks: {opened(), fields(), took(opened), take(fields, opened)}: which saved prompt stands in the editor, what stands there, which version it was saved as now,
 *  and whose version is taken instead. */
export function start(given) {
  hooks = given;
  by("test").addEventListener("click", open);
  by("test-form").addEventListener("submit", send);
  let pause = 0;
  by("test-form").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(plan, PAUSE_MS); });
  document.addEventListener("lab:changed", tell);
  tell();
  watch();
}
