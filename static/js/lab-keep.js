// What the Lab keeps: versions saved under a name (never over somebody's newer one unseen), the code of what stands here, the notebook's session.
import "./links.js";
import { SILENT, ask } from "./lab-ask.js";
import { newer } from "./lab-clash.js";
import { word } from "./lab-drafts.js";
import { owned } from "./owned.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const SESSION = owned("lab-session");
const NAMELESS = { error: { message: "The prompt has no name.", advice: "Give it one." } };
let hooks = null;

/** One tab's sitting: the notebook shows its runs together. */
export function session() {
  if (!sessionStorage.getItem(SESSION)) sessionStorage.setItem(SESSION, word());
  return sessionStorage.getItem(SESSION);
}

const send = (url, body) => fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).catch(() => null);

function title() {
  const opened = hooks.opened();
  by("save-name").value = opened?.name ?? "";
  by("save-message").value = "";
  by("save-name-help").textContent = opened ? "The same name makes the next version; another name makes a new prompt." : "Say in a word or two what it does.";
  by("save-error").hidden = true;
  by("save-dialog").showModal();
}

/** Send a version; a newer one of somebody else is shown first, and saved over only when the person says so. */
async function version(opened, fields, message, basedOn) {
  const response = await send(`/api/v1/prompts/${opened.id}/versions`, { ...fields, message, based_on: basedOn });
  const told = (await response?.json().catch(() => null)) ?? {};
  const newest = told.error?.newest;
  if (!newest) return response?.ok ? { ...told, name: opened.name } : { error: told.error ?? SILENT };
  by("save-dialog").close();
  if ((await newer(opened, newest, fields)) === "theirs") return { taken: newest };
  return version(opened, fields, message, newest.version);
}

async function save(event) {
  event.preventDefault();
  const [opened, fields] = [hooks.opened(), hooks.fields()];
  const [name, message] = [by("save-name").value.trim(), by("save-message").value.trim()];
  const next = opened && opened.name === name;
  const made = !name ? NAMELESS : next ? await version(opened, fields, message, opened.version) : await first(name, fields, message);
  if (made.error) {
    by("save-error").hidden = false;
    by("save-error").textContent = `${made.error.message} ${made.error.advice ?? ""}`;
    if (!by("save-dialog").open) by("save-dialog").showModal();
    return;
  }
  by("save-dialog").close();
  if (made.taken) hooks.take(made.taken, { id: opened.id, name, version: made.taken.version, reference: `${opened.id}@${made.taken.version}` });
  else hooks.saved({ id: made.id, name, version: made.version, reference: `${made.id}@${made.version}` });
  toast(made.taken ? { text: `This is ${name} v${made.taken.version} now; yours is kept as the earlier draft.` } : { text: `Saved as ${name} v${made.version}.`, href: `/prompts/${made.id}`, link: "History" });
  refresh();
}

async function first(name, fields, message) {
  const response = await send("/api/v1/prompts", { name, message, ...fields });
  const told = (await response?.json().catch(() => null)) ?? {};
  return response?.ok ? told : { error: told.error ?? SILENT };
}

async function refresh() {
  const menu = await fetch(`/lab/prompts?prompt=${hooks.opened().reference}`).catch(() => null);
  if (menu?.ok) by("saved-menu").innerHTML = await menu.text();
}

async function code(column) {
  by("saved-menu").hidePopover();
  const body = hooks.body(column);
  if (!body.model) return toast({ text: "There is no model yet, so there is nothing to ask." });
  const response = await ask("/lab/code", body);
  if (!response) return toast({ text: `${SILENT.message} ${SILENT.advice}` });
  by("code").innerHTML = await response.text();
  return by("code-dialog").showModal();
}

/** hooks: {opened(), fields(), body(column), saved(opened), take(fields, opened)}. */
export function start(given) {
  hooks = given;
  by("save").addEventListener("click", title);
  by("save-form").addEventListener("submit", save);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-view-code], [data-do=code]");
    if (button) code(button.closest("[data-column]")?.column);
  });
}
