// Saving labels as a version: the dialog #save-labels, one sentence, and then the page of what came of it.
import { Problem } from "./lab-stream.js";

const by = (id) => document.getElementById(id);
const NOTE = "labels-saved";

/** Open the dialog: `what` says what will be saved, `send(reason)` does it and returns {href, text}. */
export function askToSave(what, send) {
  const form = by("save-labels-form");
  by("save-labels-what").textContent = what;
  by("save-labels-error").hidden = true;
  form.onsubmit = (event) => {
    event.preventDefault();
    submit(form, send);
  };
  by("save-labels").showModal();
  by("reason").focus();
}

async function submit(form, send) {
  if (form.getAttribute("aria-busy")) return;
  form.setAttribute("aria-busy", "true");
  try {
    const { href, text } = await send(by("reason").value);
    if (text) sessionStorage.setItem(NOTE, text);
    location.assign(href);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    by("save-labels-error").hidden = false;
    by("save-labels-error").textContent = `${error.message} ${error.advice}`;
  } finally {
    form.removeAttribute("aria-busy");
  }
}

/** Where to go when the version is made in the background: its progress. */
export function making({ upload }) {
  return { href: `/datasets/uploads/${upload}`, text: "" };
}

/** What was saved before this page came, once. */
export function saved() {
  const text = sessionStorage.getItem(NOTE);
  sessionStorage.removeItem(NOTE);
  return text;
}

document.addEventListener("click", (event) => event.target.closest("[data-close]")?.closest("dialog").close());
