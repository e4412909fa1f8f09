// Keyboard: "?" help, "g" then a letter goes to a room ([data-go]), and any button with data-key="mod+enter" answers to its keys.
// Single keys can be switched off in the help (WCAG 2.1.4); the choice is kept in this browser.
const MAC = /mac|iphone|ipad/i.test(navigator.platform);
const help = document.getElementById("keys");
const list = help.querySelector("[data-keys-list]");
const switcher = help.querySelector("[data-keys-switch]");
const SEQUENCE_MS = 1200;
let went = 0;

const typing = (target) => target.matches("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]");
const pretty = (keys) => keys.replace("mod", MAC ? "⌘" : "Ctrl").replace("enter", "Enter").replace("shift", "Shift").replaceAll("+", MAC ? "" : "+");

function stroke(event) {
  return [(event.metaKey || event.ctrlKey) && "mod", event.shiftKey && event.key.length > 1 && "shift", event.key.toLowerCase()].filter(Boolean).join("+");
}

function line(keys, text) {
  const row = list.insertRow();
  const mark = document.createElement("kbd");
  mark.textContent = keys;
  row.insertCell().append(mark);
  row.insertCell().textContent = text;
}

function openHelp() {
  list.replaceChildren();
  line("?", "This help");
  for (const link of document.querySelectorAll("[data-go]")) line(`g ${link.dataset.go}`, link.textContent.trim());
  for (const button of document.querySelectorAll("[data-key]")) line(pretty(button.dataset.key), button.dataset.keyText || button.textContent.trim());
  switcher.checked = localStorage.getItem("keys") !== "off";
  help.showModal();
}

function go(letter) {
  const link = document.querySelector(`[data-go="${CSS.escape(letter)}"]`);
  if (link) location.assign(link.href);
  return Boolean(link);
}

document.addEventListener("keydown", (event) => {
  const keys = stroke(event);
  const dialog = document.querySelector("dialog[open]");
  const button = [...document.querySelectorAll("[data-key]")].find((element) => element.dataset.key === keys && (keys.includes("mod") || !typing(event.target)));
  if (button && (keys.includes("mod") || localStorage.getItem("keys") !== "off")) {
    event.preventDefault();
    // What lies behind an open dialog answers to no key, as it answers to no click.
    if (!dialog || dialog.contains(button)) button.click();
    return;
  }
  if (event.metaKey || event.ctrlKey || event.altKey || typing(event.target) || dialog || localStorage.getItem("keys") === "off") return;
  if (event.key === "?") openHelp();
  else if (event.key === "g") went = performance.now();
  else if (performance.now() - went < SEQUENCE_MS && go(event.key)) event.preventDefault();
});
document.addEventListener("click", (event) => { if (event.target.closest("[data-dialog=keys]")) { help.close(); openHelp(); } });
switcher.addEventListener("change", () => localStorage.setItem("keys", switcher.checked ? "on" : "off"));

export function showKeys(scope) {
  for (const mark of scope.querySelectorAll("kbd[data-keys]")) mark.textContent = pretty(mark.dataset.keys);
}
showKeys(document);
document.addEventListener("htmx:after:swap", () => showKeys(document));
