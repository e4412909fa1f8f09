// The label book as a table: what was typed is kept in this browser until it is saved as a version.
import { matches } from "./label-picker.js";
import { post } from "./lab-stream.js";
import { owned } from "./owned.js";
import { askToSave, making, saved } from "./save-labels.js";
import { toast } from "./toasts.js";

const by = (id) => document.getElementById(id);
const given = JSON.parse(by("given")?.textContent ?? "null");
const PAGE = 50;
const STORE = owned(`label-book-${given?.reference}`);
const book = new Map(given?.labels.map((label) => [label.key, label]));
const proposed = new Map(given?.proposals.map((one) => [one.key, one]));
/** By key: the fields that were changed. A label that is not in the book was added. */
let edits = JSON.parse(localStorage.getItem(STORE) ?? "{}");
let page = 0;

const BLANK = { display: "", description: "", aliases: [], parent: null, retired: false, none: false, count: 0, added: true };
const label = (key) => ({ ...(book.get(key) ?? { ...BLANK, key, display: key }), ...edits[key] });
const all = () => [...Object.keys(edits).filter((key) => !book.has(key)), ...book.keys()].map(label);
const changes = () => Object.keys(edits).length;

function keep() {
  localStorage.setItem(STORE, JSON.stringify(edits));
  if (!changes()) localStorage.removeItem(STORE);
  tell();
}

function tell() {
  if (!by("save")) return;
  by("changes").textContent = changes() ? `${changes().toLocaleString("en")} changed, not saved` : "";
  by("discard").hidden = !changes();
  by("save").setAttribute("aria-disabled", String(!changes()));
  if (by("codes")) by("codes").hidden = ![...book.keys()].some((key) => label(key).display === key);
  const open = [...proposed.values()].filter((one) => label(one.key).display === one.key);
  by("proposed").hidden = !open.length;
  const sources = [...new Set(open.map((one) => one.source))].join(", ");
  by("proposed-text").textContent = `${open.length.toLocaleString("en")} display ${open.length === 1 ? "text is" : "texts are"} proposed.`;
  by("proposed-from").textContent = `From ${sources}, such as “${open[0]?.display}” for ${open[0]?.key}. Nothing changes until you accept.`;
}

/** Say something else about a label; what is as it was is no change. */
function change(key, fields) {
  const before = book.get(key);
  const said = { ...edits[key], ...fields };
  for (const name of Object.keys(said)) if (before && JSON.stringify(said[name]) === JSON.stringify(before[name])) delete said[name];
  edits[key] = said;
  if (before && !Object.keys(said).length) delete edits[key];
  keep();
}

const KINDS = {
  "": () => true,
  changed: (one) => one.key in edits,
  plain: (one) => one.display === one.key,
  retired: (one) => one.retired,
};

function found() {
  const kept = all().filter(KINDS[by("only").value]);
  return matches(kept, by("find").value);
}

function draw() {
  const list = found();
  const last = Math.max(0, Math.ceil(list.length / PAGE) - 1);
  page = Math.min(page, last);
  by("rows").replaceChildren(...list.slice(page * PAGE, (page + 1) * PAGE).map(line));
  by("shown").textContent = list.length === book.size ? `${book.size.toLocaleString("en")} labels` : `${list.length.toLocaleString("en")} of ${book.size.toLocaleString("en")} labels`;
  by("pages").hidden = !last;
  by("place").textContent = `page ${page + 1} of ${last + 1}`;
  by("back").disabled = !page;
  by("forth").disabled = page === last;
}

const VALUES = {
  display: (one) => one.display,
  description: (one) => one.description,
  aliases: (one) => one.aliases.join("; "),
  parent: (one) => one.parent ?? "",
  use: (one) => (one.retired ? "retired" : one.none ? "none" : "offered"),
};
const READ = {
  display: (text, key) => ({ display: text.trim() || key }),
  description: (text) => ({ description: text.trim() }),
  aliases: (text) => ({ aliases: text.split(";").map((one) => one.trim()).filter(Boolean) }),
  parent: (text) => ({ parent: text.trim() || null }),
  use: (text) => ({ retired: text === "retired", none: text === "none" }),
};

function line(one) {
  const row = by("row").content.firstElementChild.cloneNode(true);
  row.dataset.key = one.key;
  row.toggleAttribute("data-changed", one.key in edits);
  row.toggleAttribute("data-retired", one.retired);
  row.querySelector("[data-cell=key]").textContent = one.key;
  row.querySelector("[data-cell=count]").textContent = one.count ? `${one.count.toLocaleString("en")} rows` : book.has(one.key) ? "no rows" : "new";
  for (const [name, read] of Object.entries(VALUES)) {
    const field = row.querySelector(`[data-field=${name}]`);
    field.value = read(one);
    field.disabled = !given.newest;
  }
  const offer = proposed.get(one.key);
  const button = row.querySelector(".proposal");
  button.hidden = !given.newest || !offer || one.display !== one.key;
  if (offer) button.textContent = `Accept “${offer.display}”`;
  if (offer) button.title = `Proposed from ${offer.source}`;
  return row;
}

by("rows")?.addEventListener("input", (event) => {
  const { field } = event.target.dataset;
  if (!READ[field]) return;
  const row = event.target.closest("tr");
  change(row.dataset.key, READ[field](event.target.value, row.dataset.key));
  const drawn = line(label(row.dataset.key));
  for (const name of ["data-changed", "data-retired"]) row.toggleAttribute(name, drawn.hasAttribute(name));
  row.querySelector(".error").hidden = true;
  row.querySelector(".proposal").hidden = drawn.querySelector(".proposal").hidden;
});
by("rows")?.addEventListener("click", (event) => {
  const row = event.target.closest(".proposal")?.closest("tr");
  if (!row) return;
  change(row.dataset.key, { display: proposed.get(row.dataset.key).display });
  row.replaceWith(line(label(row.dataset.key)));
  document.querySelector(".proposal:not([hidden])")?.focus();
});
// Arrow keys go to the same field of the next label; Enter too, when the field has been written.
by("rows")?.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, Enter: 1 }[event.key];
  if (!step || !event.target.matches("input") || event.target.list && event.key !== "Enter") return;
  event.preventDefault();
  const row = step > 0 ? event.target.closest("tr").nextElementSibling : event.target.closest("tr").previousElementSibling;
  row?.querySelector(`[data-field=${event.target.dataset.field}]`).select();
});

function add() {
  by("find").value = by("only").value = "";
  page = 0;
  draw();
  const row = line({ ...BLANK, key: "" });
  const key = row.querySelector("[data-field=key]");
  key.hidden = false;
  for (const field of row.querySelectorAll("[data-field]:not([data-field=key])")) field.disabled = true;
  by("rows").prepend(row);
  key.focus();
  key.addEventListener("change", (event) => {
    event.stopPropagation();
    const name = key.value.trim();
    if (!name) return draw();
    if (book.has(name) || name in edits) return toast({ text: `“${name}” is in the book already.` });
    change(name, { display: name });
    draw();
    return [...by("rows").rows].find((one) => one.dataset.key === name)?.querySelector("[data-field=description]").focus();
  });
  key.addEventListener("blur", () => { if (!key.value.trim()) draw(); });
}

function acceptAll() {
  for (const one of proposed.values()) if (label(one.key).display === one.key) change(one.key, { display: one.display });
  draw();
}

/** A refusal names its label: show it there. */
function point(problem) {
  const row = [...by("rows").rows].find((one) => one.dataset.key === problem?.label);
  if (!row) return;
  row.querySelector(".error").hidden = false;
  row.querySelector(".error").textContent = problem.message;
}

async function send(reason) {
  const labels = Object.entries(edits).map(([key, fields]) => ({ key, ...fields }));
  const response = await post(`/api/v1/datasets/${given.reference}/labels`, { labels, reason }).catch((error) => {
    point(error);
    throw error;
  });
  const made = await response.json();
  if (!made.upload) localStorage.removeItem(STORE); // else they are kept until there is a version that has them: it may come to nothing
  return made.upload ? making(made) : { href: given.next, text: `Saved as version ${made.version}.` };
}

if (given) {
  for (const id of ["find", "only"]) by(id).addEventListener("input", () => { page = 0; draw(); });
  by("back").addEventListener("click", () => { page -= 1; draw(); });
  by("forth").addEventListener("click", () => { page += 1; draw(); });
  by("add")?.addEventListener("click", add);
  by("accept-all").addEventListener("click", acceptAll);
  by("save")?.addEventListener("click", () => askToSave(`${changes().toLocaleString("en")} labels change.`, send));
  by("discard")?.addEventListener("click", () => { edits = {}; keep(); draw(); });
  if (!given.newest) edits = {};
  draw();
  tell();
}
const note = saved();
if (note) toast({ text: note });
