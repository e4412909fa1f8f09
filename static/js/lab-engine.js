// Is there an engine process? Asked more than once a second while the page is seen: the page says so before anybody has run into it.
const by = (id) => document.getElementById(id);
const LOOK_MS = 700;
let engine = true;

export const there = () => engine;

/** `change` is called when it comes or goes. */
export function start(given, change) {
  engine = given;
  const look = async () => {
    if (!document.hidden) {
      const response = await fetch("/lab/engine").catch(() => null);
      const now = response?.ok ? (await response.json()).engine : engine;
      if (now !== engine) {
        engine = now;
        change();
      }
    }
    setTimeout(look, LOOK_MS);
  };
  setTimeout(look, LOOK_MS);
}

/** The notice, unless every column asks an endpoint. */
export const tell = (needed) => { by("away").hidden = engine || !needed; };
