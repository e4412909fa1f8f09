// What the model sees of the prompt, and what it costs in tokens: asked for after each pause in writing.
import { ask } from "./lab-ask.js";
import { describeTurns } from "./lab-chat.js";
import * as engine from "./lab-engine.js";
import * as form from "./lab-form.js";
import { asked, readsInput } from "./lab-form.js";
import * as inputs from "./lab-inputs.js";
import { following } from "./lab-shots.js";
import { post } from "./lab-stream.js";
import { tell } from "./lab-variables.js";

const by = (id) => document.getElementById(id);
let problem = null;
let sections = [];
let crowded = "";
let counting = null;
let turn = 0;

/** Why the prompt cannot be rendered, and why it has no room in the model; null or "" when all is well. */
export const state = () => ({ problem, crowded });

/** Of a table of inputs the first one is looked at. */
const variables = () => inputs.list()[0]?.variables ?? form.variables();

/** Check the prompt, show it where that is wanted, and count it for a model. `settled` is called when it is known whether it can run. */
export async function look(model, remote, settled) {
  turn += 1;
  const mine = turn;
  const open = by("seen").open;
  const response = await ask("/lab/preview", { prompt: asked(), variables: variables(), text: open });
  if (!response?.ok || mine !== turn) return;
  const part = document.createElement("div");
  part.innerHTML = await response.text();
  const told = part.querySelector("[data-preview]").dataset;
  if (open) by("preview").replaceChildren(...part.childNodes);
  problem = told.problem ? `${told.problem} ${told.advice}` : null;
  sections = JSON.parse(told.sections);
  tell(told);
  settled();
  await count(model, remote, open);
  settled();
}

async function count(model, remote, open) {
  counting?.abort();
  crowded = "";
  if (!(engine.there() || remote) || problem || !model || (readsInput() && !variables().input)) return write("");
  counting = new AbortController();
  const body = { model, prompt: asked(), variables: variables() };
  try {
    if (open && !remote) return await show(body, counting.signal);
    return write(costs(await (await post("/api/v1/generate/count", body, counting.signal)).json()));
  } catch (error) {
    if (error.name === "AbortError") return null;
    describe({});
    return write(`Not counted: ${error.message}`);
  }
}

function write(words) {
  by("tokens").textContent = words;
  if (!words) describe({});
}

/** The text as the model's tokenizer gets it, special tokens visible. */
async function show(body, signal) {
  const response = await fetch("/lab/seen", { method: "POST", headers: { "Content-Type": "application/json", "HX-Request": "true" }, body: JSON.stringify(body), signal });
  if (!response.ok) return null;
  const part = document.createElement("div");
  part.innerHTML = await response.text();
  const { counts, problem: why } = part.querySelector("[data-seen]").dataset;
  if (!counts) {
    by("preview").append(...part.childNodes);
    return write(`Not counted: ${why}`);
  }
  by("preview").replaceChildren(...part.childNodes);
  return write(costs(JSON.parse(counts)));
}

const number = (value) => value.toLocaleString("en");

/** Tokens by section, told beside each shot and each turn; `about` stands before those that are only reckoned. */
function describe(sizes, about = "") {
  [...by("shots").children].forEach((item, index) => {
    const { row } = item.dataset;
    const size = sizes[`shot ${index + 1}`];
    item.querySelector("[data-shot-facts]").textContent = [row && `row ${number(Number(row))}`, size !== undefined && `${about}${number(size)} tokens`].filter(Boolean).join(" · ");
  });
  describeTurns(Object.keys(sizes).length ? asked().messages.map((_, index) => sizes[`turn ${index + 1}`]) : []);
}

/** "61 instruction + 212 shots + 38 input = 311 of 8,192 tokens". */
function costs({ total, parts, template, window, estimated }) {
  const fresh = following() ? " · no shared prefix: the shots change with the input" : "";
  const sizes = {};
  parts.forEach((size, index) => { sizes[sections[index]] = (sizes[sections[index]] ?? 0) + size; });
  describe(sizes, estimated ? "about " : "");
  if (estimated) return `about ${number(total)} tokens; the endpoint counts them when it answers${fresh}`;
  const sum = (word) => Object.entries(sizes).reduce((all, [name, size]) => (name.startsWith(word) ? all + size : all), 0);
  const named = [["instruction", sizes.instruction], ["shots", sum("shot ")], ["turns", sum("turn ")], ["input", sizes.input], ["frame", template]].filter(([, size]) => size);
  const words = named.map(([key, size]) => `${number(size)} ${key}`).join(" + ");
  const room = window && window < 1 << 30 ? ` of ${number(window)}` : "";
  crowded = room && total >= window ? `The prompt takes ${number(total)} tokens, and the model reads ${number(window)}, its answer included: make it shorter by at least ${number(total - window + 1)}.` : "";
  return `${named.length > 1 ? `${words} = ` : ""}${number(total)}${room} tokens${fresh}`;
}
