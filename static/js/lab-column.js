// One column: a model, a prompt (the editor's or a saved version), parameters, and its answers. An object with its element; nothing in it has a fixed id.
import { Answer } from "./lab-answer.js";
import * as form from "./lab-form.js";
import * as parameters from "./lab-parameters.js";
import { parts, standIn } from "./lab-words.js";

/** What new columns are made from. */
export const blank = document.querySelector("[data-column]").cloneNode(true);
const NAMES = ["id", "for", "aria-describedby", "popovertarget"];
let made = 1;

/** A column's element with ids of its own. */
function fresh() {
  const element = blank.cloneNode(true);
  made += 1;
  for (const name of NAMES) {
    for (const one of element.querySelectorAll(`[${name}^="c1-"]`)) one.setAttribute(name, `c${made}-${one.getAttribute(name).slice(3)}`);
  }
  return element;
}

/** One more saved version to choose from, in a column's element. */
export function offer(element, { name, reference }) {
  const select = element.querySelector("[data-part=prompt]");
  if ([...select.options].some((option) => option.value === reference)) return;
  select.options[0].after(new Option(`${name} v${reference.split("@")[1]}`, reference));
}

export class Column {
  constructor(element = fresh()) {
    this.element = element;
    this.parts = parts(element);
    this.cell = element.querySelector("[data-answer]").cloneNode(true);
    this.answers = [];
    this.bars = null;
    element.column = this;
    element.querySelector("[data-answer]").remove();
    this.size(1, false);
  }

  get model() { return this.parts.model.value; }
  get option() { return this.parts.model.selectedOptions[0]; }
  get remote() { return this.option?.hasAttribute("data-remote") ?? false; }
  /** Why a model that can be chosen here weighs no labels, or "". */
  unweighedBy(model) { return [...this.parts.model.options].find((one) => one.value === String(model))?.dataset.unweighed ?? ""; }
  get unweighed() { return this.unweighedBy(this.model); }
  get through() { return this.option?.dataset ?? {}; }
  get version() { return this.parts.prompt.value; }
  get running() { return this.answers.some((answer) => answer.running); }
  get place() { return this.remote ? "endpoint" : "engine"; }
  get parameters() { return parameters.read(this.parts.parameters); }

  /** What it is called beside the others: "starter-135M · Routing v7". */
  get title() {
    const prompt = this.version ? this.parts.prompt.selectedOptions[0].textContent : "the editor's prompt";
    return `${this.option?.textContent ?? "no model"} · ${prompt}`;
  }

  /** The request without its variables. */
  body() {
    const prompt = this.version ? { prompt_version: this.version } : { prompt: form.asked() };
    return { model: Number(this.model), ...prompt, parameters: this.parameters };
  }

  /** Why it cannot run, or "": `engine` and `problem` are about the page, the editor's prompt. */
  why({ engine, problem }) {
    if (!this.model) return "There is no model yet.";
    if (!engine && !this.remote) return "No engine process answers.";
    return (!this.version && problem ? "Mend the prompt first." : "") || parameters.bad(this.parts.parameters);
  }

  state() {
    return { model: this.model, prompt: this.version, parameters: this.parameters };
  }

  restore({ model, prompt, parameters: given }) {
    if (model) form.choose(this.parts.model, model);
    form.choose(this.parts.prompt, prompt);
    parameters.write(this.parts.parameters, given ?? {});
  }

  /** As many cells as there are inputs; those that stay keep what they show. */
  size(count, brief) {
    if (this.answers.length && this.answers[0].brief !== brief) while (this.answers.length) this.answers.pop().close();
    while (this.answers.length > count) this.answers.pop().close();
    while (this.answers.length < count) {
      const element = this.cell.cloneNode(true);
      this.parts.answers.append(element);
      const answer = new Answer(element, { brief });
      Object.assign(answer, { column: this, row: this.answers.length });
      answer.parts.head.hidden = !brief;
      this.answers.push(answer);
    }
    return this.answers;
  }

  /** "3 right, 1 wrong, 1 failed (75 % of 4)"; "" while nothing is judged. Where one input has several answers, each counts. */
  tally() {
    const texts = this.answers.flatMap((answer) => answer.texts);
    const [right, wrong] = [true, false].map((judged) => texts.filter((text) => text.right === judged).length);
    const failed = this.answers.filter((answer) => answer.state === "failed").length;
    if (texts.length < 2 || !(right + wrong + failed)) return "";
    const share = right + wrong ? ` (${Math.round((right / (right + wrong)) * 100)} % of ${right + wrong})` : "";
    return `${right} right, ${wrong} wrong${failed ? `, ${failed} failed` : ""}${share}`;
  }

  /** Say again what stands in its head. `letter` is its place, `alone` that there is no other column, `first` that it is the editor's. */
  tell({ letter, alone, first, reason }) {
    const { changed, tally, tools, why, prompt } = this.parts;
    this.element.setAttribute("aria-label", alone ? "Model and answer" : `Column ${letter}`);
    this.parts.letter.textContent = letter;
    for (const part of [this.parts.letter, tools]) part.hidden = alone;
    prompt.hidden = alone || first;
    this.parts.own.hidden = alone || !first;
    changed.textContent = parameters.words(this.parts.parameters);
    tally.textContent = this.tally();
    tally.hidden = !tally.textContent;
    why.textContent = reason;
    why.hidden = alone || !reason;
    standIn([this.button("run"), this.running], [this.button("stop"), !this.running]);
    this.button("run").setAttribute("aria-disabled", String(Boolean(reason)));
    for (const [name, text] of [["run", "Run"], ["stop", "Stop"]]) this.button(name).setAttribute("aria-label", `${text} column ${letter}`);
  }

  button(name) {
    return this.element.querySelector(`[data-do="${name}"]`);
  }

  close() {
    for (const answer of this.answers) answer.close();
    this.element.remove();
  }
}
