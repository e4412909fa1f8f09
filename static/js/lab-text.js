// One text of an answer: what is written, whether that is right, how it differs from the first column's. An answer has as many as `n` asks for.
import { draw as drawDiff } from "./lab-diff.js";
import { heat } from "./lab-heat.js";
import { answerIn, parts } from "./lab-words.js";

const END = { length: "cut at max tokens", cancelled: "stopped by you" };

export class Text {
  /** `element` holds its parts; the first text's are those of the answer itself. */
  constructor(answer, number, element) {
    Object.assign(this, { answer, number, element, right: null, parts: parts(element) });
    element.written = this;
    if (number === 1) return;
    this.parts.stream.setAttribute("aria-label", `Answer ${number}`);
    this.parts.diff.setAttribute("aria-label", `Answer ${number}: difference from the first column`);
    element.querySelector(".marks").setAttribute("aria-label", `What do you think of answer ${number}?`);
  }

  /** The next text of an answer, drawn below the others. */
  static after(answer) {
    const element = document.getElementById("other-answer").content.firstElementChild.cloneNode(true);
    answer.parts.others.append(element);
    return new Text(answer, answer.texts.length + 1, element);
  }

  get text() { return this.parts.stream.textContent; }

  clear() {
    this.right = null;
    this.parts.stream.textContent = "";
    this.parts.stream.hidden = false;
    this.parts.diff.hidden = true;
  }

  write(text, logprobs) {
    // White space between prompt and answer belongs to the answer; on the page the answer begins with its first character.
    const shown = this.text ? text : text.trimStart();
    if (shown) this.parts.stream.append(heat(shown, text, logprobs));
  }

  /** It is whole: `reason` is why it ended where that is known of this text by itself. */
  end(reason) {
    if (this.number === 1) return;
    this.parts.foot.hidden = false;
    this.parts.nothing.hidden = Boolean(this.text);
    this.parts.counts.textContent = END[reason] ?? "";
  }

  /** The row's gold answer, null for none, and whether this is right: null while, or where, that is not known; `why` says why not. In words, "" for nothing. */
  judge(gold, right = null, why = "") {
    this.parts.gold.hidden = !gold;
    this.right = right;
    this.parts["gold-text"].textContent = gold?.text ?? "";
    this.parts["gold-why"].textContent = why;
    this.parts.right.hidden = right !== true;
    this.parts.wrong.hidden = right !== false;
    return right === null ? "" : `${answerIn(this.text)}: ${right ? "right" : "wrong"}`;
  }

  /** Show how it differs from another text; null shows the text itself. */
  compare(lead) {
    this.parts.diff.hidden = lead === null;
    this.parts.stream.hidden = lead !== null || (this.answer.state === "failed" && !this.text);
    if (lead !== null) drawDiff(this.parts.diff, lead, this.text);
  }
}
