// The heat line: each token of an answer shaded by how sure the model was of it. Focus or hover one for its probability and what else was likely.
// One stop for Tab; the arrow keys go from token to token.
import { percent } from "./lab-words.js";

const SURE = [0.9, 0.6, 0.3, 0.1];
const TIP = "heat-tip";
const probability = (one) => Math.exp(one.logprob);
const visible = (token) => token.replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ | $/g, "·") || "(empty)";

/** What to append for a piece of text: plain where nothing is known about its tokens, or where they do not spell it. */
export function heat(shown, text, logprobs) {
  if (!logprobs?.length || logprobs.map((one) => one.token).join("") !== text) return document.createTextNode(shown);
  const box = document.createDocumentFragment();
  let cut = text.length - shown.length;
  for (const one of logprobs) {
    const written = one.token.slice(Math.min(cut, one.token.length));
    cut = Math.max(0, cut - one.token.length);
    if (!written) continue;
    if (one.logprob === null) {
      box.append(written);
      continue;
    }
    const token = Object.assign(document.createElement("span"), { className: "token", textContent: written, tabIndex: -1 });
    token.setAttribute("role", "button");
    token.setAttribute("aria-label", `${visible(one.token)}, ${percent(probability(one))}`);
    token.dataset.sure = SURE.filter((limit) => probability(one) < limit).length;
    token.dataset.tip = TIP;
    token.known = one;
    box.append(token);
  }
  return box;
}

function fill({ token, logprob, top = [] }) {
  const tip = document.getElementById(TIP);
  const head = Object.assign(document.createElement("p"), { textContent: `${visible(token)} ${percent(Math.exp(logprob))}` });
  const list = document.createElement("ol");
  for (const one of top) {
    const item = Object.assign(document.createElement("li"), { textContent: `${visible(one.token)} ${percent(probability(one))}` });
    item.toggleAttribute("data-taken", one.token === token);
    list.append(item);
  }
  tip.replaceChildren(head, list);
}

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

export function start() {
  // Before tips.js places it: capture comes first.
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => { if (event.target.known) fill(event.target.known); }, true);
  document.addEventListener("keydown", (event) => {
    const stream = event.target.closest?.(".stream");
    const tokens = stream ? [...stream.querySelectorAll(".token")] : [];
    const step = STEPS[event.key];
    if (!step || !tokens.length) return;
    event.preventDefault();
    const at = tokens.indexOf(event.target);
    tokens[at < 0 ? 0 : Math.min(tokens.length - 1, Math.max(0, at + step))].focus();
  });
}
