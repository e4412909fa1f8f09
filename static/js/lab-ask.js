// The Lab's own requests, which are refused in their answer: what was found is JSON, and where nothing was, the part of the page that says why is HTML.
import { over } from "./session.js";

export const SILENT = { code: "no_answer", message: "The server does not answer.", advice: "Check that it runs, then try again." };

/** POST to a page's own request. Null when nobody answers. */
export async function ask(url, body) {
  const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json", "HX-Request": "true" }, body: JSON.stringify(body) }).catch(() => null);
  if (response?.status === 401) over();
  return response;
}

/** The same, read: {found} or {refused: HTML}; neither for who is signed out, whom a dialog of its own tells so. */
export async function find(url, body) {
  const response = await ask(url, body);
  if (response?.status === 401) return {};
  if (response?.headers.get("Content-Type")?.startsWith("text/html")) return { refused: await response.text() };
  const found = response?.ok ? await response.json().catch(() => null) : null;
  return found ? { found } : { refused: `<p class="help">${SILENT.message} ${SILENT.advice}</p>` };
}

/** What the browser says is wrong with a number that was typed; "" when it is in order. */
export const amiss = (field, name) => (field.validity.valid ? "" : `${name}: ${field.validationMessage}`);
