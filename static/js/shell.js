// What every page has. Each module listens on the document, so that swapped content needs no set-up of its own.
import "./theme.js";
import "./ages.js";
import "./dialogs.js";
import "./keys.js";
import "./tips.js";
import "./upload.js";
import "./ended.js";
import { toast } from "./toasts.js";

// A hidden tab asks for nothing: polls ([data-poll]) wait until it is looked at again.
document.addEventListener("htmx:config:request", (event) => {
  if (document.hidden && event.detail.ctx.sourceElement.matches("[data-poll]")) event.preventDefault();
});

// A request without an answer is said once, not at every poll.
let silent = false;
document.addEventListener("htmx:error", (event) => {
  if (event.detail.ctx && !event.detail.ctx.response && !silent) toast({ text: "The server does not answer. What you see may be old." });
  silent = Boolean(event.detail.ctx && !event.detail.ctx.response);
});
document.addEventListener("htmx:after:request", () => { silent = false; });

// A button with data-waits cannot be used again before its answer is there. It is not disabled, which would take the keyboard from it.
for (const [name, on] of [["htmx:before:request", "true"], ["htmx:finally:request", "false"]]) {
  document.addEventListener(name, (event) => event.detail.ctx?.sourceElement.querySelector("[data-waits]")?.setAttribute("aria-disabled", on));
}

// A control that says why it cannot be used stays focusable, and does nothing.
document.addEventListener("click", (event) => {
  if (!event.target.closest("[aria-disabled=true]")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// [data-copy="#id"] copies that element's text. Without a secure context there is no clipboard: the text is selected instead.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(source.textContent);
    toast({ text: "Copied." });
  } else {
    getSelection().selectAllChildren(source);
    toast({ text: "Selected; copy it with your keyboard." });
  }
});
