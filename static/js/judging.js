// People judge one row at a time: by a rubric, or between two answers. The next rows are fetched ahead, so the next one is there at once.
import { Problem, post } from "./lab-stream.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const given = JSON.parse(by("given").textContent);
const base = `/api/v1/judgements/${given.judgement}`;
const said = [];
const seen = new Set();
let rows = [];
let later = [];
let sending = 0;

function element(name, text, more = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...more });
}

// ---- drawing ----
function draw() {
  const row = rows[0];
  for (const id of ["card", "keys-part"]) by(id).hidden = !row;
  by("done").hidden = Boolean(row);
  by("undo").setAttribute("aria-disabled", String(!said.length));
  if (!row) return;
  by("input").textContent = row.input;
  by("reference-part").hidden = !row.reference;
  by("reference").textContent = row.reference;
  by("answers").replaceChildren(...row.answers.map((text, at) => {
    const part = element("div", "", { className: "answer-part" });
    part.append(element("h2", row.answers.length > 1 ? "AB"[at] : "Answer"), element("p", text || "(nothing)", { className: "answer-read" }));
    return part;
  }));
}

function tell(progress) {
  by("progress").textContent = `${progress.mine.toLocaleString("en")} of ${progress.rows.toLocaleString("en")} by you${progress.people > 1 ? `, ${progress.people} people take part` : ""}`;
  by("meter").value = progress.mine;
}

function choice({ value, text, key }) {
  const button = element("button", text, { type: "button", className: "button" });
  button.dataset.key = key;
  button.dataset.keyText = text;
  if (text !== key) button.append(" ", element("kbd", key));
  button.addEventListener("click", () => rule(value));
  return button;
}

// ---- rows, fetched ahead ----
async function fill() {
  if (sending || rows.length > given.ahead / 2) return;
  const empty = !rows.length;
  const response = await fetch(`${base}/queue?${new URLSearchParams({ limit: Math.min(50, given.ahead + rows.length + later.length) })}`).catch(() => null);
  if (sending) return;
  if (!response?.ok) {
    if (empty) toast({ text: "The next rows could not be fetched. Reload the page to try again." });
    return;
  }
  const found = await response.json();
  // An answer that was on its way while a ruling was sent may still have that row.
  const fresh = found.items.filter((row) => !seen.has(row.example));
  for (const row of fresh) seen.add(row.example);
  rows.push(...fresh);
  again();
  tell(found.progress);
  if (empty) draw();
}

/** Skipped rows come again when there is no other. */
function again() {
  if (!rows.length) [rows, later] = [later, []];
}

async function rule(value) {
  const row = rows.shift();
  if (!row) return;
  said.push(row);
  draw();
  by("card").focus({ preventScroll: true });
  sending += 1;
  try {
    tell(await (await post(`${base}/rulings`, { example: row.example, value })).json());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    said.splice(said.indexOf(row), 1);
    rows.unshift(row);
    draw();
    toast({ text: `Not kept: ${error.message} ${error.advice}` });
  } finally {
    sending -= 1;
  }
  fill();
}

/** The last row again: another ruling replaces the first. */
async function back() {
  const row = said.pop();
  if (!row) return;
  rows = [row, ...rows];
  draw();
  by("card").focus({ preventScroll: true });
}

by("choices").replaceChildren(...given.choices.map(choice));
by("undo").addEventListener("click", back);
by("skip").addEventListener("click", async () => {
  if (rows.length) later.push(rows.shift());
  if (rows.length) draw();
  await fill();
  again();
  draw();
});
tell(given.progress);
await fill();
if (document.activeElement === document.body) by("card").focus({ preventScroll: true });
draw();
