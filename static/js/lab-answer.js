// The Lab's right side: one generation from Run to its last token, to Stop, or to an error with Retry.
import { Problem, events, post } from "./lab-stream.js";

const by = (id) => document.getElementById(id);
const FINISH = { stop: "stopped by itself", length: "cut at max tokens", cancelled: "stopped by you" };
const GIVE_UP_MS = 1500;
const WAIT_MS = 1000;
let controller = null;
let request = "";
let begun = 0;
let first = 0;
let clock = 0;
let asked = "";
let place = "engine";

export const running = () => controller !== null;
const seconds = () => (performance.now() - begun) / 1000;
const dollars = (cost) => (cost >= 0.01 ? `$${cost.toFixed(2)}` : `$${Number(cost.toPrecision(2))}`);
const took = (ms) => (ms < 1000 ? `${Math.round(ms)}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`);

/** One spelling for texts that look the same, as app/domain/scoring.py: normalise() has it. */
const normal = (text) => text.normalize("NFC").trim().split(/\s+/).join(" ");

/** The first line that is not blank is the answer, as in an evaluation by generation. */
const answered = () => normal(by("stream").textContent.trim().split("\n")[0]);

function show(working) {
  by("run").hidden = working;
  by("stop").hidden = !working;
  by("stream").toggleAttribute("data-running", working);
  by("answer").setAttribute("aria-busy", String(working));
}

function clear() {
  for (const id of ["waiting", "starters", "failure", "gold", "foot", "stale"]) by(id).hidden = true;
  by("answer").hidden = by("stream").hidden = by("progress").hidden = false;
  by("stream").textContent = by("said").textContent = by("counts").textContent = "";
  request = "";
  first = 0;
  begun = performance.now();
}

/** What happens before the first token, with the seconds it has taken. */
function wait(words) {
  clearInterval(clock);
  const tell = () => { by("progress").textContent = seconds() < 2 ? words : `${words}, ${Math.floor(seconds())} s`; };
  tell();
  clock = setInterval(tell, 500);
}

function write(text) {
  if (!first) {
    first = performance.now();
    clearInterval(clock);
    by("progress").hidden = true;
  }
  const stream = by("stream");
  // White space between prompt and answer belongs to the answer; on the page the answer begins with its first character.
  const shown = stream.textContent ? text : text.trimStart();
  if (shown) stream.append(shown);
}

const HANDLERS = {
  accepted: (data) => { request = data.request; wait(place === "engine" ? "In the engine's queue" : "Waiting for the endpoint"); },
  loading: (data) => wait(data.fraction ? `Loading weights, ${Math.round(data.fraction * 100)} %` : "Loading weights"),
  message: (data) => write(data.text),
  done: (data) => finish(data),
  error: (data) => { throw new Problem(data.error); },
};

/** Send one request and show its answer as it comes; `settled` is called when it stands. `where` is who answers: "engine" or "endpoint". */
export async function run(body, settled, where) {
  controller = new AbortController();
  asked = JSON.stringify(body);
  place = where;
  clear();
  show(true);
  wait(`Waiting for the ${where}`);
  try {
    const response = await post("/api/v1/generate", { ...body, stream: true }, controller.signal);
    for await (const { event, data } of events(response)) HANDLERS[event]?.(data);
    if (by("foot").hidden) throw new Problem({ code: "broken_stream", message: "The answer broke off.", advice: "The connection was lost; try again." });
  } catch (error) {
    if (error.name === "AbortError") ended("stopped by you");
    else fail(error instanceof Problem ? error : new Problem({ code: "broken_stream", message: "The answer broke off.", advice: "The connection was lost; try again." }));
  } finally {
    clearInterval(clock);
    controller = null;
    show(false);
    by("progress").hidden = Boolean(by("stream").textContent) || !by("failure").hidden;
  }
  settled();
}

/** Latency is the model's own; what went by before it (the queue, loading weights) is told apart. */
function finish({ input_tokens: read, output_tokens: written, latency_ms: latency, reason, finish_reason: why = reason, estimated, tries, cost }) {
  const waited = Math.max(0, performance.now() - begun - latency);
  const words = [`${estimated ? "about " : ""}${read.toLocaleString("en")} tokens read, ${written.toLocaleString("en")} written`, took(latency)];
  if (first) words.push(`first token after ${took(Math.max(0, first - begun - waited))}`);
  if (written && latency > 0) words.push(`${(written / (latency / 1000)).toFixed(1)} tokens/s`);
  if (waited > WAIT_MS) words.push(`waited ${took(waited)} before`);
  if (tries > 1) words.push(`${tries} tries`);
  if (cost) words.push(dollars(cost));
  ended([...words, FINISH[why] ?? ""].filter(Boolean).join(" · "));
}

function ended(words) {
  by("foot").hidden = false;
  by("counts").textContent = words;
  by("progress").textContent = "The model wrote nothing.";
}

/** A sentence into an element; words between backticks are code, as app/pages/text.py: ticks() has it. */
export function say(element, sentence) {
  const pieces = sentence.split("`").map((piece, index) => (index % 2 ? Object.assign(document.createElement("code"), { textContent: piece }) : piece));
  element.replaceChildren(...pieces);
}

function fail(error) {
  by("stream").hidden = !by("stream").textContent;
  by("failure").hidden = false;
  by("away").hidden = true;
  say(by("failure-message"), error.message);
  say(by("failure-advice"), error.advice);
  by("failure-code").textContent = error.code;
}

const folded = (text) => normal(text).toLowerCase();

/** Right or wrong in words, while the answer's input is the one in the editor; and whether the editor has moved on since. */
export function mark(gold, body) {
  const stands = !by("answer").hidden && by("failure").hidden && !running() && Boolean(by("counts").textContent);
  by("stale").hidden = !stands || asked === JSON.stringify(body);
  const judged = stands && gold !== null && JSON.parse(asked).variables.input === body.variables.input;
  by("gold").hidden = !judged;
  if (!judged) return;
  const right = gold.some((name) => folded(name) === folded(answered()));
  by("foot").hidden = false;
  [by("gold-text").textContent] = gold;
  by("gold-right").hidden = !right;
  by("gold-wrong").hidden = right;
  by("said").textContent = `${answered()}: ${right ? "right" : "wrong"}`;
}

/** Ask the engine to end; if it does not say so soon, hang up. */
export function stop() {
  if (!controller) return;
  const mine = controller;
  if (!request) return mine.abort();
  wait("Stopping");
  fetch(`/api/v1/generate/${request}/stop`, { method: "POST" }).catch(() => mine.abort());
  return setTimeout(() => mine.abort(), GIVE_UP_MS);
}

export function start() {
  by("stop").addEventListener("click", stop);
  addEventListener("pagehide", () => controller?.abort());
}
