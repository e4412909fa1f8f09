// Label bars: how likely each label is after this very prompt, raw and calibrated. Asked for when an answer stands, while the box is ticked; the notebook keeps
// them with the run, so that an answer which comes from there brings its own (`weighed`).
import * as rows from "./lab-rows.js";
import { Problem, post } from "./lab-stream.js";
import { percent } from "./lab-words.js";

const by = (id) => document.getElementById(id);
const SHOWN = 5;
let answers = () => [];
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

function draw(place, labels) {
  place.replaceChildren(element("p", "The share of each label; in grey, calibrated: without what the model favours anyway.", "help"), lines(labels.slice(0, SHOWN), fresh()));
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

/** Show an answer's labels, if that is wanted: those it brought, else those that are asked for now. */
export async function follow(answer) {
  const place = answer.parts.bars;
  const { asked, weighed, ticket } = answer;
  const labels = labelsFor(answer);
  const wanted = by("bars").checked && Boolean(weighed || labels);
  place.hidden = !wanted;
  if (!wanted || place.asked === asked) return;
  place.asked = asked;
  if (weighed) return void draw(place, weighed);
  if (answer.column.unweighed) return void place.replaceChildren(element("p", answer.column.unweighed, "small muted"));
  place.replaceChildren(element("p", "Weighing the labels", "small muted"));
  const { parameters, ...column } = asked.column;
  try {
    const response = await post("/api/v1/likelihoods", { ...column, variables: asked.variables, ...labels, ticket });
    const found = await response.json();
    if (place.asked === asked) draw(place, found.labels);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (place.asked === asked) place.replaceChildren(element("p", `${error.message} ${error.advice}`, "small muted"));
  }
}

export const state = () => by("bars").checked;
export const restore = (on) => { by("bars").checked = Boolean(on); };

/** The box is there while there are labels to weigh, and says why where no column's model can. */
export function tell() {
  const all = answers();
  const refused = all.every((answer) => answer.column.unweighed && !answer.weighed) ? (all[0]?.column.unweighed ?? "") : "";
  by("bars-field").hidden = !all.some((answer) => answer.weighed || labelsFor(answer));
  by("bars").disabled = Boolean(refused);
  by("bars-field").title = refused;
}

export function start(given) {
  answers = given;
  by("bars").addEventListener("change", () => {
    for (const answer of answers()) if (answer.finished) follow(answer);
    document.dispatchEvent(new CustomEvent("lab:changed"));
  });
  document.addEventListener("lab:changed", tell);
  tell();
}
