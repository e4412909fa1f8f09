// One answer: from its place in the queue to its last token, to Stop, or to an error with Retry. Everything it shows is inside its own element.
import { judge, shown } from "./lab-gold.js";
import { BROKEN, Problem } from "./lab-stream.js";
import { Text } from "./lab-text.js";
import { dollars, moment, parts, plain, say, took } from "./lab-words.js";

const FINISH = { stop: "stopped by itself", length: "cut at max tokens", cancelled: "stopped by you" };
const SHOWN = "among the shots, so not judged";
const WAIT_MS = 1000;
const WITH_LINES = 2;

export class Answer {
  /** `brief`: in a table of inputs, where the figures have one line. */
  constructor(element, { brief = false } = {}) {
    this.element = element;
    this.parts = parts(element);
    this.brief = brief;
    this.state = "empty";
    this.asked = null;
    this.gold = null;
    this.texts = [];
    this.texts.push(new Text(this, 1, element));
    element.answer = this;
  }

  get running() { return this.state === "running"; }
  get sought() { return this.state === "sought"; }
  get text() { return this.texts[0].text; }
  get finished() { return this.state === "done"; }

  /** Show that it was asked for. `asked` is {column, variables}: the request without and with its input; `gold` the row's gold answer, or null. */
  begin(asked, gold, place) {
    Object.assign(this, { asked, gold, place, state: "running", request: "", error: null, first: 0, loads: null, instead: "", whole: true, reference: null, began: performance.now(), latency: null, weighed: null });
    this.clear();
    this.busy(true);
    this.wait(`Waiting for the ${place}`);
    this.changed();
  }

  /** As before anything was written. */
  clear() {
    const { waiting, failure, foot, stale, bars, body, progress, said, counts, others, stream } = this.parts;
    const retried = failure.contains(document.activeElement);
    for (const part of [waiting, failure, foot, stale, bars]) part.hidden = true;
    for (const part of [body, progress]) part.hidden = false;
    for (const part of [said, counts]) part.textContent = "";
    others.replaceChildren();
    this.texts.length = 1;
    this.texts[0].clear();
    if (retried) stream.focus();
  }

  busy(on) {
    this.parts.stream.toggleAttribute("data-running", on);
    this.parts.body.setAttribute("aria-busy", String(on));
  }

  changed() {
    this.element.dispatchEvent(new CustomEvent("lab:answer", { bubbles: true, detail: this }));
  }

  /** What happens before the first token, with the seconds it has taken. */
  wait(words) {
    clearInterval(this.clock);
    const tell = () => {
      const seconds = (performance.now() - this.began) / 1000;
      this.parts.progress.textContent = seconds < 2 || words.endsWith("left") ? words : `${words}, ${Math.floor(seconds)} s`;
    };
    tell();
    this.clock = setInterval(tell, 500);
  }

  /** One event of its stream. */
  take(event, data) {
    if (!this.running) return;
    if (event === "accepted") {
      this.request = data.request;
      this.wait(this.place === "engine" ? "In the engine's queue" : "Waiting for the endpoint");
    } else if (event === "notice") this.note(data);
    else if (event === "loading") this.load(data.fraction);
    else if (event === "message") this.write(data);
    else if (event === "done") this.finish(data);
    else if (event === "error") this.fail(new Problem(data.error));
  }

  /** How much of the weights is there, and how long the rest takes at the pace so far. */
  load(fraction) {
    this.loads ||= { since: performance.now(), from: fraction };
    const { since, from } = this.loads;
    const left = fraction > from ? ((performance.now() - since) / 1000) * ((1 - fraction) / (fraction - from)) : 0;
    this.wait(["Loading weights", ...(fraction ? [`${Math.round(fraction * 100)} %`] : []), ...(left >= 1 ? [`about ${Math.round(left)} s left`] : [])].join(", "));
  }

  /** Who has the device, until when, and what becomes of this answer meanwhile. */
  note({ text, until, instead }) {
    const then = until ? ` until about ${new Date(until).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })}` : "";
    this.instead = instead ? "answered on the CPU" : "";
    this.wait(`${text}${then}; ${instead ? "answering on the CPU" : "this answer waits for it"}`);
  }

  write({ text, index = 0, logprobs }) {
    if (!this.first) {
      this.first = performance.now();
      clearInterval(this.clock);
      this.parts.progress.hidden = true;
    }
    this.nth(index).write(text, logprobs);
  }

  /** The text at this place, counted from 0, made if need be with those before it. */
  nth(index) {
    while (this.texts.length <= index) this.texts.push(Text.after(this));
    return this.texts[index];
  }

  /** Latency is the model's own; what went by before it (the queue, loading weights) is told apart. */
  finish({ answers = [], reason, finish_reason: why = reason, tries, ...told }) {
    const waited = Math.max(0, performance.now() - this.began - told.latency_ms);
    const first = this.first ? `first token after ${took(Math.max(0, this.first - this.began - waited))}` : "";
    const seen = [first, waited > WAIT_MS ? `waited ${took(waited)} before` : "", tries > 1 ? `${tries} tries` : ""];
    for (const { index } of answers) this.nth(index);
    Object.assign(this, { latency: told.latency_ms, whole: why !== "cancelled" });
    const reasons = Object.fromEntries(answers.map((one) => [one.index, one.reason]));
    this.end(this.figures(told, seen, [this.instead, this.brief && why === "stop" ? "" : FINISH[why]]), reasons);
  }

  /** What it took, in words; `seen` is what only a page knows that was there, `last` what is said of every answer, also where there is one line. */
  figures({ input_tokens: read, output_tokens: written, latency_ms: latency, estimated, cost }, seen, last) {
    const words = [];
    if (read || written) words.push(`${estimated ? "about " : ""}${read.toLocaleString("en")} tokens read, ${written.toLocaleString("en")} written`);
    if (latency) words.push(took(latency));
    if (written && latency > 0) words.push(`${(written / (latency / 1000)).toFixed(1)} tokens/s`);
    return [...[...words, ...seen].filter(Boolean).slice(0, this.brief ? WITH_LINES : undefined), cost ? dollars(cost) : "", ...last].filter(Boolean).join(" · ");
  }

  // ---- after the page was loaded anew ----
  /** What a draft keeps of it; null while nothing was asked. A browser may break a stream off before its page hears that it is left: that is no end. */
  kept() {
    // Stopped before the server had begun with it, it stands in no notebook.
    if (this.state === "empty" || (this.finished && !this.request && !this.reference)) return null;
    if (this.sought) return this.reference;
    return { ticket: this.ticket, gold: this.gold, over: !this.running && this.error?.code !== BROKEN, error: this.error ?? undefined };
  }

  /** It was asked for before: say so until `show` or `fail`. */
  seek(reference) {
    Object.assign(this, { state: "sought", request: "", reference, ticket: reference.ticket, gold: reference.gold?.dataset ? reference.gold : null, asked: null, error: null, weighed: null });
    this.clear();
    this.parts.progress.textContent = "Looking for its answer in the notebook";
    this.changed();
  }

  /** Its run as the notebook has it. Where the page was left before the end, that is why it stopped. */
  show({ asked, prompt, texts, logprobs, labels, weighing, reason, error, created_at: at, ...told }) {
    const why = reason === "cancelled" && !this.reference.over ? "stopped when the page was left" : FINISH[reason];
    const { model, prompt_version: version, parameters } = asked.column;
    // A column without a version of its own has the editor's prompt: whether that is still the same is seen by the wording.
    const column = version && this.column.version ? asked.column : { model, prompt, parameters };
    const whole = reason !== "cancelled";
    Object.assign(this, { asked: { ...asked, column }, latency: told.latency_ms, weighed: labels && { labels, ...weighing }, whole });
    texts.forEach((text, index) => this.nth(index).write(text, logprobs?.[index]));
    if (error) this.fail(new Problem(error));
    else this.end(this.figures(told, [], [this.brief && reason === "stop" ? "" : why, this.brief ? "" : moment(at)]));
  }

  /** Its last words; `reasons` say of each text why it ended, where that is known. */
  end(words, reasons = {}) {
    this.state = "done";
    this.texts.forEach((text, index) => text.end(reasons[index]));
    this.parts.foot.hidden = false;
    this.parts.counts.textContent = words;
    this.parts.progress.textContent = this.whole ? "The model wrote nothing." : "Nothing had been written yet.";
    this.settle();
  }

  /** Stopped, and nobody waits for what the server says of it. */
  halt() {
    this.whole = false;
    this.end(FINISH.cancelled);
  }

  fail(error) {
    const { stream, failure } = this.parts;
    this.state = "failed";
    this.error = { code: error.code, message: error.message, advice: error.advice, took: error.took };
    const lost = stream === document.activeElement && !stream.textContent;
    stream.hidden = !stream.textContent;
    failure.hidden = false;
    if (lost) failure.querySelector("[data-do=retry]").focus();
    say(this.parts["failure-message"], error.message);
    say(this.parts["failure-advice"], [error.advice, error.took && `Taken all the same: ${this.figures(error.took, [], [])}.`].filter(Boolean).join(" "));
    this.parts["failure-code"].textContent = error.code;
    this.settle();
  }

  settle() {
    clearInterval(this.clock);
    this.busy(false);
    this.parts.progress.hidden = Boolean(this.text) || this.state === "failed";
    this.judge();
    this.changed();
  }

  /** Every text of it beside the row's gold answer: right or wrong as the server says. A row that the prompt shows, and what was stopped, is not judged. */
  async judge() {
    const { asked, texts } = this;
    const gold = this.finished ? this.gold : null;
    const why = gold && shown(asked.column.prompt, asked.variables, gold) ? SHOWN : "";
    for (const text of texts) text.judge(gold, null, why);
    if (!gold || why || !this.whole) return;
    const right = await judge(gold, asked.column, texts.map((text) => text.text));
    if (asked !== this.asked || !this.finished) return;
    const told = texts.map((text, index) => (right === "shown" ? text.judge(gold, null, SHOWN) : text.judge(gold, right?.[index] ?? null)));
    this.parts.said.textContent = told.filter(Boolean).join("; ");
    this.element.dispatchEvent(new CustomEvent("lab:judged", { bubbles: true }));
  }

  /** Has what would be asked now moved on since? `gold` is the gold answer that is known by now of what it was asked. */
  compare(asked, gold) {
    this.parts.stale.hidden = !this.finished || plain(this.asked) === plain(asked);
    if (!this.finished || !gold || this.gold || plain(this.asked.variables) !== plain(asked.variables)) return;
    this.gold = gold;
    this.judge();
  }

  /** Gone: nothing runs on in a cell that nobody sees. */
  close() {
    clearInterval(this.clock);
    this.element.remove();
  }
}
