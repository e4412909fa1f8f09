// Label bars: how likely each label is after this very prompt, raw and calibrated. Asked for when an answer stands, while the box is ticked, a few answers at a
// time: an endpoint reads the prompt, and charges for it, once for each label. The notebook keeps them with the run, so that an answer which comes from there
// brings its own (`weighed`).
import * as rows from "./lab-rows.js";
import { Problem, post } from "./lab-stream.js";
import { dollars, percent } from "./lab-words.js";

const by = (id) => document.getElementById(id);
const SHOWN = 5;
/** Answers whose labels are weighed at the same time. A browser opens six connections to a server, and lab-run.js has four of them. */
const LANES = 1;
/** The answers whose labels are still to come, in their order; `controllers` has those that are asked for now. */
const queue = [];
const controllers = new Map();
/** What was asked when somebody pressed Stop: its labels are not weighed until the box is ticked again. */
let stopped = new WeakSet();
let answers = () => [];
const BROKEN_OFF = new Problem({ code: "broken_off", message: "The answer broke off.", advice: "Tick “Label bars” anew." });
const SVG = "http://www.w3.org/2000/svg";

function element(name, content, className = "") {
  return Object.assign(document.createElement(name), { textContent: content, className });
}

function bar(share, rest) {
  const svg = document.createElementNS(SVG, "svg");
  const rect = document.createElementNS(SVG, "rect");
  for (const [name, value] of [["class", "bar-line"], ["height", 8], ["width", 60], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  for (const [name, value] of [["width", `${(share * 100).toFixed(1)}%`], ["height", 8], ["rx", 1.5]]) rect.setAttribute(name, value);
  if (rest) rect.setAttribute("class", "rest");
  svg.append(rect);
  return svg;
}

/** The rows of some labels: name, two bars, two shares. */
function lines(labels, box) {
  for (const one of labels) {
    const even = one.calibrated_share ?? null;
    const both = document.createElement("dd");
    both.append(bar(one.share, false), ...(even === null ? [] : [bar(even, true)]));
    const name = element("dt", one.label);
    name.title = `${one.label}: log-likelihood ${one.log_likelihood.toFixed(2)}${one.tokens ? ` over ${one.tokens} tokens` : ""}`;
    box.append(name, both, element("dd", percent(one.share), "num"), element("dd", even === null ? "" : percent(even), "num faint"));
  }
  return box;
}

const fresh = () => Object.assign(document.createElement("dl"), { className: "bars" });

const say = (place, words) => place.replaceChildren(element("p", words, "small muted"));

/** What an endpoint took for the labels, in words; "" for a model that runs here. */
function taken({ input_tokens: read, output_tokens: written, estimated, cost } = {}) {
  if (!read) return "";
  return ` Weighing them took ${estimated ? "about " : ""}${read.toLocaleString("en")} tokens read, ${written.toLocaleString("en")} written${cost ? `, ${dollars(cost)}` : ""}.`;
}

function draw(place, { labels, ...took }) {
  const words = `The share of each label; in grey, calibrated: without what the model favours anyway.${taken(took)}`;
  place.replaceChildren(element("p", words, "help"), lines(labels.slice(0, SHOWN), fresh()));
  if (labels.length <= SHOWN) return;
  const more = document.createElement("details");
  more.append(element("summary", `${(labels.length - SHOWN).toLocaleString("en")} more`, "small muted"), lines(labels.slice(SHOWN), fresh()));
  place.append(more);
}

/** The labels to weigh for an answer: those it is held to, else the dataset's; null without either. */
function labelsFor({ asked }) {
  const choices = asked?.column.parameters.choices;
  return choices ? { labels: choices } : rows.dataset() ? { dataset: rows.dataset() } : null;
}

/** Are labels weighed, or wait for it? */
export const weighing = () => queue.length + controllers.size > 0;

/** An answer has begun, ended or gone: what was asked for before is left, and its labels are shown if that is wanted, those it brought or those asked for now. */
export function follow(answer) {
  const place = answer.parts.bars;
  const { asked, weighed } = answer;
  const wanted = answer.finished && by("bars").checked && Boolean(weighed || labelsFor(answer));
  place.hidden = !wanted;
  if (!wanted || place.asked !== asked) leave(answer);
  if (!wanted || place.asked === asked) return;
  if (!weighed && stopped.has(asked)) return void say(place, "You stopped this, so its labels were not weighed. Tick “Label bars” anew to weigh them.");
  const refused = answer.column.unweighedBy(asked.column.model);
  if (!weighed && refused) return void say(place, refused);
  place.asked = asked;
  if (weighed) return void draw(place, weighed);
  say(place, "Weighing the labels");
  queue.push(answer);
  next();
}

/** Nobody waits for an answer's labels any more: the server hears of it and asks for no further one. */
function leave(answer) {
  if (!queue.includes(answer) && !controllers.has(answer)) return;
  answer.parts.bars.asked = null;
  if (queue.includes(answer)) queue.splice(queue.indexOf(answer), 1);
  controllers.get(answer)?.abort();
  controllers.delete(answer);
}

async function next() {
  if (!queue.length || controllers.size >= LANES) return;
  const [answer, controller] = [queue.shift(), new AbortController()];
  controllers.set(answer, controller);
  document.dispatchEvent(new CustomEvent("lab:weighing"));
  try {
    await weigh(answer, controller.signal);
  } finally {
    if (controllers.get(answer) === controller) controllers.delete(answer);
    document.dispatchEvent(new CustomEvent("lab:weighing"));
    next();
  }
}

async function weigh(answer, signal) {
  const { asked, ticket } = answer;
  const place = answer.parts.bars;
  const { parameters, ...column } = asked.column;
  try {
    const response = await post("/api/v1/likelihoods", { ...column, variables: asked.variables, ...labelsFor(answer), ticket }, signal);
    const found = await response.json().catch(() => { throw BROKEN_OFF; });
    if (place.asked === asked && !signal.aborted) draw(place, found);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    if (place.asked === asked) say(place, `${error.message} ${error.advice}`);
  }
}

/** Stop: what is weighed or waits for it ends here, and what these answers still bring is not weighed. */
export function stop(some) {
  for (const answer of some.filter((one) => one.running || queue.includes(one) || controllers.has(one))) {
    stopped.add(answer.asked);
    leave(answer);
    follow(answer);
  }
  next();
}

export const state = () => by("bars").checked;
export const restore = (on) => { by("bars").checked = Boolean(on); };

/** The box is there while there are labels to weigh, and says why where no column's model can. What belongs to a cell that is gone is left. */
export function tell() {
  for (const answer of [...queue, ...controllers.keys()]) if (!answer.element.isConnected) leave(answer);
  const all = answers();
  const refused = all.every((answer) => answer.column.unweighed && !answer.weighed) ? (all[0]?.column.unweighed ?? "") : "";
  by("bars-field").hidden = !all.some((answer) => answer.weighed || labelsFor(answer));
  by("bars").disabled = Boolean(refused);
  by("bars-field").title = refused;
}

export function start(given) {
  answers = given;
  by("bars").addEventListener("change", () => {
    stopped = new WeakSet();
    for (const answer of answers()) follow(answer);
    document.dispatchEvent(new CustomEvent("lab:changed"));
  });
  tell();
}
