// Thumbs and a note on an answer, kept on the server. The same answer to the same request shows its mark again.
import { post } from "./lab-stream.js";
import { plain } from "./lab-words.js";
import { toast } from "./toasts.js";

const known = new Map();
/** A text of an answer: the same text to the same request is the same, wherever it stands. */
const key = (text) => plain([text.answer.asked, text.text]);
const of = (target) => target.closest("[data-text]").written;
const controls = (text) => text.parts.note.closest(".marks");

/** Draw what is known of a text. */
function show(text) {
  const { thumb = "", note = "" } = known.get(key(text)) ?? {};
  for (const button of controls(text).querySelectorAll("[data-thumb]")) button.setAttribute("aria-pressed", String(button.dataset.thumb === thumb));
  text.parts.note.value = note;
  unfold(text, Boolean(note));
}

/** What was thought of the texts of an answer before the page was loaded. */
export function remember(texts, marks) {
  texts.forEach((text, index) => {
    if (marks[index]) known.set(key(text), marks[index]);
    show(text);
  });
}

function unfold(text, open) {
  text.parts.note.hidden = !open;
  controls(text).querySelector("[data-do=note]").setAttribute("aria-expanded", String(open));
}

async function keep(text, change) {
  const mark = { thumb: "", note: "", ...known.get(key(text)), ...change };
  const { column, variables } = text.answer.asked;
  try {
    await post("/api/v1/marks", { ...column, variables, text: text.text, ...mark }, undefined, "PUT");
    known.set(key(text), mark);
  } catch (error) {
    toast({ text: `Not kept: ${error.message}` });
  }
  show(text);
}

export function start(strip) {
  strip.addEventListener("lab:answer", ({ detail: answer }) => { if (answer.finished) answer.texts.forEach(show); });
  strip.addEventListener("click", (event) => {
    const thumb = event.target.closest("[data-thumb]");
    if (thumb) keep(of(thumb), { thumb: thumb.getAttribute("aria-pressed") === "true" ? "" : thumb.dataset.thumb });
    if (!event.target.closest("[data-do=note]")) return;
    const text = of(event.target);
    unfold(text, text.parts.note.hidden);
    if (!text.parts.note.hidden) text.parts.note.focus();
  });
  strip.addEventListener("change", (event) => {
    if (event.target.dataset.part === "note") keep(of(event.target), { note: event.target.value });
  });
}
