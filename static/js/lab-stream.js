// Server-sent events over fetch: a POST whose answer is read while it is written. (EventSource can neither post nor be aborted.)
import { SILENT } from "./lab-ask.js";
import { over } from "./session.js";

/** What went wrong, with the server's code, sentence and advice. */
export class Problem extends Error {
  constructor({ code = "", message, advice = "", label, took, newest }) {
    super(message);
    Object.assign(this, { code, advice, label, took, newest });
  }
}

export const BROKEN = "broken_stream";

/** A stream that ended before its answer did. */
export const broken = () => new Problem({ code: BROKEN, message: "The answer broke off.", advice: "The connection was lost; try again." });

/** Send JSON; a refusal is thrown as a Problem, a lost connection too. */
export async function post(url, body, signal, method = "POST") {
  let response;
  try {
    response = await fetch(url, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(SILENT);
  }
  if (response.status === 401) over();
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Problem(told.error ?? { ...SILENT, message: `The server answered ${response.status}.` });
}

/** The events of a stream as {id, event, data}: `event` is "message" where the server named none, `data` is JSON. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const lines = block.split("\n").filter((line) => line && !line.startsWith(":"));
  const value = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, ""));
  const data = value("data").join("\n");
  return data ? { id: value("id")[0], event: value("event")[0] ?? "message", data: JSON.parse(data) } : null;
}
