// The turns of a chat: written, edited, taken over from an answer, and sent again from any of them.
const by = (id) => document.getElementById(id);
const turns = by("turns");
const NEXT = { system: "user", user: "assistant", assistant: "user" };

const changed = () => document.dispatchEvent(new CustomEvent("lab:changed"));
const part = (item, name) => item.querySelector(`[data-turn="${name}"]`);
const aside = (item) => item.hasAttribute("data-aside");

/** The turns as [{role, content}]; with `sent`, without those that are only kept. */
export function readTurns(sent = false) {
  return [...turns.children].filter((item) => !(sent && aside(item))).map((item) => ({ role: part(item, "role").value, content: part(item, "content").value }));
}

export function writeTurns(list) {
  home();
  turns.replaceChildren();
  for (const turn of list) add(turn);
}

/** What stands at a turn about its variables must not go with it. */
const home = () => by("template-place").append(by("template-error"));

function add({ role = "user", content = "" }, after = turns.lastElementChild) {
  const item = by("turn").content.firstElementChild.cloneNode(true);
  part(item, "role").value = role;
  part(item, "content").value = content;
  if (after) after.after(item);
  else turns.append(item);
  return item;
}

/** What stands beside each turn: its number for those who hear it, its cost, whether it is sent. `costs` are tokens by turn sent. */
export function describeTurns(costs = []) {
  const items = [...turns.children];
  let sent = 0;
  items.forEach((item, index) => {
    const role = part(item, "role").value;
    item.dataset.role = role;
    part(item, "role").setAttribute("aria-label", `Role of turn ${index + 1}`);
    part(item, "content").setAttribute("aria-label", `Turn ${index + 1}, ${role}`);
    const cost = aside(item) ? null : costs[sent];
    if (!aside(item)) sent += 1;
    item.querySelector("[data-turn-facts]").textContent = aside(item) ? "not sent" : cost ? `${cost.toLocaleString("en")} tokens` : "";
    item.querySelector("[data-turn-run]").hidden = role !== "user" || index === items.length - 1;
  });
  by("turns-note").hidden = !items.some(aside);
}

/** Text of a model as a prompt's author would have to write it: a {name} in it is no variable. */
const literal = (text) => text.replace(/\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (found) => `{${found}}`);

/** An answer becomes the assistant's next turn, or takes the place of the one that was kept there; then all is sent again. */
export function take(text) {
  const sent = [...turns.children].filter((item) => !aside(item));
  const following = sent.at(-1)?.nextElementSibling ?? null;
  if (following && part(following, "role").value === "assistant") part(following, "content").value = literal(text);
  else add({ role: "assistant", content: literal(text) }, sent.at(-1));
  sendAll();
  const last = turns.lastElementChild;
  const next = part(last, "role").value === "assistant" ? add({}) : last;
  part(next, "content").focus();
  changed();
}

function sendAll() {
  for (const item of turns.children) item.removeAttribute("data-aside");
}

function runFrom(item, keep) {
  const later = [...turns.children].slice([...turns.children].indexOf(item) + 1);
  sendAll();
  for (const one of later) {
    if (keep) one.setAttribute("data-aside", "");
    else { home(); one.remove(); }
  }
  item.querySelector("[data-turn-choice]").hidden = true;
  part(item, "content").focus();
  changed();
  by("run").click();
}

function choose(item) {
  const after = turns.children.length - 1 - [...turns.children].indexOf(item);
  item.querySelector("[data-turn-after]").textContent = after === 1 ? "1 turn comes after this one." : `${after} turns come after this one.`;
  item.querySelector("[data-turn-choice]").hidden = false;
  item.querySelector("[data-turn-drop]").focus();
}

const ACTIONS = {
  "data-turn-run": choose,
  "data-turn-drop": (item) => runFrom(item, false),
  "data-turn-keep": (item) => runFrom(item, true),
  "data-turn-remove": (item) => {
    ((item.nextElementSibling ?? item.previousElementSibling)?.querySelector("textarea") ?? by("add-turn")).focus();
    home();
    item.remove();
    changed();
  },
};

export function startTurns() {
  turns.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const name = button && Object.keys(ACTIONS).find((one) => button.hasAttribute(one));
    if (name) ACTIONS[name](button.closest("li"));
  });
  turns.addEventListener("keydown", (event) => {
    const choice = event.target.closest("[data-turn-choice]");
    if (event.key !== "Escape" || !choice) return;
    choice.hidden = true;
    part(choice.closest("li"), "content").focus();
  });
  by("add-turn").addEventListener("click", () => {
    const last = readTurns().at(-1);
    part(add({ role: last ? NEXT[last.role] : "user" }), "content").focus();
    changed();
  });
  // The button goes with what it is about.
  by("send-all").addEventListener("click", () => { sendAll(); part(turns.lastElementChild, "content").focus(); changed(); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-take]");
    const text = button?.closest("[data-text]")?.querySelector("[data-part=stream]")?.textContent ?? "";
    if (text.trim()) take(text.trim());
  });
}
