// Two versions of the same thing, somebody else's and mine: both are shown with what differs, and the person decides.
const by = (id) => document.getElementById(id);

/** A prompt's version that somebody saved since mine began: `newest` as the server tells it, `mine` as a version's fields. Resolves like `choose`. */
export function newer(opened, newest, mine) {
  const text = `Version ${newest.version} is newer than version ${opened.version}, which yours began from${newest.message ? `: “${newest.message}”` : "."}`;
  return choose({ title: "There is a newer version", text, theirs: newest, mine });
}

/** Resolves to "mine" or "theirs"; closing the dialog keeps mine. Both are a prompt version's fields. */
export async function choose({ title, text, theirs, mine }) {
  const dialog = by("clash-dialog");
  by("clash-title").textContent = title;
  by("clash-text").textContent = text;
  const response = await fetch("/lab/compare", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ theirs, mine }) }).catch(() => null);
  if (response?.ok) by("clash-diff").innerHTML = await response.text();
  else by("clash-diff").textContent = "The difference cannot be shown: the server does not answer.";
  dialog.returnValue = "mine";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue || "mine"), { once: true }));
}
