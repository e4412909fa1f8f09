// How the Lab says and shows things: times, money, sentences with code in them, buttons that stand in for each other.
export const took = (ms) => (ms < 1000 ? `${Math.round(ms)}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`);
export const dollars = (cost) => (cost >= 0.01 ? `$${cost.toFixed(2)}` : `$${Number(cost.toPrecision(2))}`);
export const percent = (share) => (share > 0 && share < 0.001 ? "<0.1\u00a0%" : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`);

const DAY_MS = 86400000;

/** When something was, for the reader: the time of day, with the date when that was not within a day. */
export function moment(at) {
  const date = Date.now() - at < DAY_MS ? {} : { day: "numeric", month: "short" };
  return new Date(at).toLocaleString("en", { ...date, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** A value as JSON in which the order of names says nothing: the same for what asks the same. */
export const plain = (value) => JSON.stringify(value, (_, one) => (one?.constructor === Object ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one));

/** The first line that is not blank: what an answer is called when it is read out. */
export const answerIn = (text) => text.trim().split("\n")[0].trim();

/** A text as a field of the page has it: lines end in one way there. */
export const typed = (text = "") => text.replaceAll("\r\n", "\n").replaceAll("\r", "\n");

/** A sentence into an element; words between backticks are code, as app/pages/text.py: ticks() has it. */
export function say(element, sentence) {
  const pieces = sentence.split("`").map((piece, index) => (index % 2 ? Object.assign(document.createElement("code"), { textContent: piece }) : piece));
  element.replaceChildren(...pieces);
}

/** The named parts of an element, by name. */
export const parts = (element) => Object.fromEntries([...element.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));

/** Show and hide buttons that stand in for each other, [button, hidden] each: the keyboard goes on from one that goes to the first that is there. */
export function standIn(...states) {
  const lost = states.some(([button, hidden]) => hidden && button === document.activeElement);
  for (const [button, hidden] of states) button.hidden = hidden;
  if (lost) states.find(([, hidden]) => !hidden)?.[0].focus();
}
