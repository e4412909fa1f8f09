// A page's stream of news ([hx-sse:connect]). htmx opens it anew when it breaks, and says with Last-Event-ID where it was. What is here is for a wire that is
// dead and does not say so, as after a laptop's sleep: it is known by its silence. While nothing can be heard the page says of when it is (#unheard).
const SILENT_MS = 30_000; // the server says something every 15 s at least: QUIET_SECONDS in app/pages/job_events.py
const AGAIN_MS = 5_000;
const CALM_MS = 3_000; // a stream also ends and begins anew when all is well
const unheard = document.getElementById("unheard");
const streams = new Map();

for (const element of document.querySelectorAll("[hx-sse\\:connect]")) streams.set(element, { connection: null, heard: Date.now(), tried: Date.now(), lost: 0 });

function on(name, act) {
  document.addEventListener(name, (event) => {
    const stream = streams.get(event.detail.ctx?.sourceElement ?? event.target);
    if (stream) act(stream, event.detail, event.target);
  });
}

function heard(stream, { connection }) {
  Object.assign(stream, { connection, heard: Date.now(), lost: 0 });
  tell();
}

function lost(stream) {
  stream.lost ||= Date.now();
}

on("htmx:sse:after:connection", heard);
on("htmx:sse:before:message", heard);
for (const name of ["htmx:sse:before:connection", "htmx:sse:error", "htmx:error", "htmx:response:error"]) on(name, lost);
on("htmx:sse:close", (stream, { reason }, element) => {
  if (reason !== "ended" && reason !== "cancelled") streams.delete(element);
  stream.connection = null;
  tell();
});

function tell() {
  const away = [...streams.values()].find((stream) => stream.lost && Date.now() - stream.lost > CALM_MS);
  if (!unheard) return;
  if (away && unheard.hidden) document.getElementById("heard").textContent = new Date(away.heard).toLocaleTimeString([], { hourCycle: "h23" });
  unheard.hidden = !away;
}

/** Leave a wire on which nothing came for so long; htmx opens another one. */
function leave(stream, silence) {
  if (!stream.connection?.reader || Date.now() - stream.heard < silence) return;
  lost(stream);
  stream.connection.reader.cancel().catch(() => null);
}

/** htmx does not repeat a first try that failed. */
function open(stream, element) {
  if (stream.connection || Date.now() - stream.tried < (stream.lost ? AGAIN_MS : SILENT_MS)) return;
  stream.tried = Date.now();
  htmx.trigger(element, "reopen");
}

setInterval(() => {
  if (document.hidden) return; // htmx has closed it until somebody looks
  for (const [element, stream] of streams) {
    leave(stream, SILENT_MS);
    open(stream, element);
  }
  tell();
}, 1000);

addEventListener("online", () => {
  for (const stream of streams.values()) {
    leave(stream, AGAIN_MS);
    stream.connection?.delayCanceller?.();
  }
});
