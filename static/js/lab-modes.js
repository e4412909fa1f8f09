// Structured, freeform, chat: the same prompt in another mode. What a mode cannot say is kept, and is there again on the way back.
import { content, memory, mode, placeInput, showMode, writeContent } from "./lab-form.js";

const by = (id) => document.getElementById(id);
const NAMES = { structured: "Structured", freeform: "Freeform", chat: "Chat" };
let now = mode();
let turns = 0;

const changed = () => document.dispatchEvent(new CustomEvent("lab:changed"));
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const plain = (fields) => ({ ...fields, shots: fields.shots.map(({ input, output }) => ({ input, output })) });

/** Every mode the prompt was shown in since it was last edited says the same: those are gone back to as they were. */
function remember() {
  const here = content(now);
  if (same(here, memory.trail[now])) return;
  memory.base = { ...memory.base, ...memory.trail };
  Object.assign(memory, { origin: now, trail: { [now]: here } });
}

/** The prompt as it was written, in another mode: what was only passed on the way there takes nothing from it. */
async function convert(wanted) {
  const base = memory.base[wanted];
  const body = JSON.stringify({ prompt: plain(memory.trail[memory.origin]), mode: wanted, base: base ? plain(base) : null });
  const response = await fetch("/lab/convert", { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => null);
  return response?.ok ? response.json() : null;
}

async function turn(wanted) {
  turns += 1;
  const mine = turns;
  remember();
  let note = "";
  if (memory.trail[wanted]) writeContent(memory.trail[wanted]);
  else {
    const found = await convert(wanted);
    if (mine !== turns) return null;
    if (!found) {
      by("mode-note").textContent = "The server does not answer: nothing was changed.";
      return showMode(now);
    }
    writeContent({ ...found.fields, shots: rows(found.fields.shots, memory.base[wanted]?.shots ?? []) });
    if (found.input !== null) by("input").value = found.input;
    if (found.kept) note = `${NAMES[memory.origin]} keeps ${found.kept}.`;
  }
  now = wanted;
  showMode(now);
  memory.trail[now] = content(now);
  by("mode-note").textContent = note;
  return changed();
}

/** Shots that came back unchanged are still the rows they were. */
const rows = (shots, before) => shots.map((shot) => before.find((one) => one.input === shot.input && one.output === shot.output) ?? shot);

/** The prompt was written anew in some mode, by opening or pasting one. */
export function follow() {
  if (now !== mode()) by("mode-note").textContent = "";
  now = mode();
  by("lab-panes").dataset.editing = now;
  placeInput();
}

export function start() {
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.addEventListener("input", (event) => event.stopPropagation());
    radio.addEventListener("change", () => turn(radio.value));
  }
}
