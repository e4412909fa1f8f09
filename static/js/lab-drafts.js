// The Lab's draft on the server, one for each prompt: kept while somebody types, found again by another tab, another machine or after a crash.
// The browser's own copy (localStorage) stands in while the server does not answer.
import { choose } from "./lab-clash.js";
import { account, owned } from "./owned.js";

const AT = owned("lab-draft-at");
const OWN = owned("lab-draft");
const BEFORE = owned("lab-draft-before");
const SENT = owned("lab-draft-sent");
const PAUSE_MS = 800;
/** What a closing page may still send; larger drafts stay in this browser until it is opened again. */
const KEEPALIVE = 60000;

/** Which draft this tab works on: `revision` is the server's that it was made from, `dirty` until the server has it. */
let at = null;
let pending = null;
let timer = 0;
let sending = false;
let away = false;
let hooks = null;
/** A saved prompt was opened on purpose and not changed yet: looking at it saves nothing over a draft of it. */
let looking = false;

export const word = () => [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const fresh = () => ({ key: `new-${word()}`, revision: 0, dirty: false, empty: true });

function remember() {
  sessionStorage.setItem(AT, JSON.stringify(at));
  localStorage.setItem(AT, JSON.stringify(at));
}

/** " in this browser only" while the server does not take it. */
export const where = () => (away ? " in this browser only" : "");

async function ask(key) {
  const response = await fetch(`/lab/draft${key ? `?key=${encodeURIComponent(key)}` : ""}`).catch(() => null);
  away = !response?.ok;
  return response?.status === 200 ? response.json() : null;
}

const inOrder = (name, value) => (value && typeof value === "object" && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort()) : value);
/** Anything as text to compare by: a database that keeps JSON as values orders its names in its own way. */
export const flat = (value) => JSON.stringify(value, inOrder);
/** A draft's wording as lab.js saves it to compare by: where its shots came from is no part of it. */
const wording = ({ fields }) => flat({ ...fields, shots: (fields.shots ?? []).map(({ input, output }) => ({ input, output })) });
const whole = (state) => wording(state) + flat(state.variables);
const differ = (one, other) => whole(one) !== whole(other);
/** What this tab's page before sent last: it may arrive after the next page has asked what there is, and is nobody else's. */
const last = sessionStorage.getItem(SENT);

/** The draft to begin with, as text; null for none. What is opened on purpose leaves it for "Bring it back". */
export async function latest(given) {
  const mine = sessionStorage.getItem(OWN) ?? localStorage.getItem(OWN);
  const known = JSON.parse(sessionStorage.getItem(AT) ?? localStorage.getItem(AT) ?? "null");
  if (given.explicit) {
    const key = given.prompt ? String(given.prompt.id) : null;
    const theirs = key ? await ask(key) : null;
    looking = Boolean(key);
    at = key ? { key, revision: theirs?.revision ?? 0, dirty: false } : fresh();
    const changed = theirs && wording(theirs.state) !== theirs.state.saved;
    return changed ? JSON.stringify(theirs.state) : mine;
  }
  at = known ?? fresh();
  if (known?.empty) return null;
  const theirs = await ask(known?.key);
  if (!theirs) return mine;
  if (mine && known && (known.revision >= theirs.revision || known.dirty)) {
    // What a page sends while it closes arrives without its hearing of it.
    if (known.key === theirs.key && !differ(JSON.parse(mine), theirs.state)) at.revision = theirs.revision;
    return mine;
  }
  at = { key: theirs.key, revision: theirs.revision, dirty: false };
  return JSON.stringify(theirs.state);
}

/** Another prompt begins: the draft until now stays where it is. */
export function begin() {
  flush();
  at = fresh();
}

/** What stands in the editor; sent a moment later. Null: nothing does. */
export function keep(state) {
  if (!state) {
    at.empty = true;
    sessionStorage.removeItem(OWN);
    return remember();
  }
  if (looking && !state.answers && wording(state) === state.saved && (state.dataset || !Object.values(state.variables).some(Boolean))) return remember();
  looking = false;
  const key = state.opened ? String(state.opened.id) : at.key.startsWith("new-") ? at.key : fresh().key;
  if (key !== at.key) {
    flush();
    at = { key, revision: null, dirty: true };
  }
  pending = state;
  Object.assign(at, { dirty: true, empty: false });
  sessionStorage.setItem(OWN, JSON.stringify(state));
  remember();
  clearTimeout(timer);
  timer = setTimeout(send, PAUSE_MS);
  return null;
}

/** The draft of a prompt that has a name now is the one under its id. */
export function named(key) {
  if (at.key.startsWith("new-") && key !== at.key) fetch(`/lab/draft?key=${at.key}`, { method: "DELETE" }).catch(() => {});
}

async function send() {
  if (sending || !pending) return;
  const [state, mine] = [pending, at];
  [pending, sending] = [null, true];
  try {
    if (mine.revision === null) mine.revision = (await ask(mine.key))?.revision ?? 0;
    const response = await put(mine, state);
    const told = response?.ok ? await response.json().catch(() => null) : null;
    away = !told;
    if (away) pending ??= state;
    else if (told.state) await clash(mine, state, told);
    else {
      mine.revision = told.revision;
      mine.dirty = Boolean(pending);
    }
    if (mine === at) remember();
  } finally {
    sending = false;
  }
  hooks.tell();
  if (pending) timer = setTimeout(send, away ? 10 * PAUSE_MS : PAUSE_MS);
}

function put({ key, revision }, state, closing = false) {
  const body = JSON.stringify({ key, revision, state, account });
  try {
    sessionStorage.setItem(SENT, whole(state));
  } catch {
    sessionStorage.removeItem(SENT); // it is full; the draft itself goes to the server all the same
  }
  const keepalive = closing && body.length < KEEPALIVE;
  return fetch("/lab/draft", { method: "PUT", headers: { "Content-Type": "application/json" }, body, keepalive }).catch(() => null);
}

/** Somebody, another tab perhaps, saved since: the person decides, and the other one is kept for "Bring it back". */
async function clash(mine, state, theirs) {
  mine.revision = theirs.revision;
  if (!differ(state, theirs.state) || whole(theirs.state) === last) return void (pending ??= state);
  const told = { title: "This draft was changed elsewhere", text: "Another tab or browser saved it since you began.", theirs: theirs.state.fields, mine: state.fields };
  const answer = await choose(told);
  if (answer === "theirs") {
    localStorage.setItem(BEFORE, JSON.stringify(pending ?? state));
    pending = null;
    await hooks.write(JSON.stringify(theirs.state));
    return null;
  }
  localStorage.setItem(BEFORE, JSON.stringify(theirs.state));
  hooks.offer();
  pending ??= state;
  return null;
}

function flush() {
  clearTimeout(timer);
  if (!pending || !at || at.revision === null || sending) return;
  put(at, pending, true);
  pending = null;
}

/** hooks: {write(text), tell(), offer(), keep()}: put a draft into the editor, say where it is kept, offer what is kept in "Bring it back", hand over what stands there. */
export function start(given) {
  hooks = given;
  addEventListener("pagehide", flush);
  // Signing out ends the session that a closing page would save its draft with.
  document.addEventListener("submit", async (event) => {
    if (!event.target.matches('[action="/sign-out"]')) return;
    hooks.keep();
    if (!pending) return;
    event.preventDefault();
    clearTimeout(timer);
    while (sending) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS / 10));
    await send();
    event.target.submit();
  });
  // A page that comes back out of the browser's cache, or a machine out of its sleep, asks whether its draft is still the newest.
  document.addEventListener("visibilitychange", () => { if (!document.hidden && pending) send(); });
}
