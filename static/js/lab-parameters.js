// The parameters of one column as plain values, and back. Lists stand one text a line, as app/pages/lab.py: listed() writes them.
const fields = (scope) => [...scope.querySelectorAll("[data-parameter]")];
const ESCAPES = { n: "\n", t: "\t", r: "\r", "\\": "\\" };
/** A list without any text in it, which is not the same as none given; a text that reads so has a backslash before it. */
const NOTHING = "[]";
const escape = (text) => text.replace(/[\n\t\r\\]/g, (sign) => `\\${Object.keys(ESCAPES).find((name) => ESCAPES[name] === sign)}`);
const unescape = (line) => line.replace(/\\([ntr\\])/g, (_, name) => ESCAPES[name]);

function lines(text) {
  const found = text.split("\n").filter(Boolean);
  if (found.length === 1 && [NOTHING, `\\${NOTHING}`].includes(found[0])) return found[0] === NOTHING ? [] : [NOTHING];
  return found.map(unescape);
}

function listed(texts) {
  if (texts.length === 1 && texts[0] === NOTHING) return `\\${NOTHING}`;
  return texts.length ? texts.map(escape).join("\n") : NOTHING;
}

/** What is no JSON stays text: the server says what is wrong with it. */
function object(text) {
  try { return JSON.parse(text); } catch { return text; }
}

const READ = {
  list: lines,
  json: object,
  text: (text) => text,
};
const WRITE = {
  list: listed,
  json: (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2)),
};

/** Only what differs from the defaults. */
export function read(scope) {
  const given = {};
  for (const field of fields(scope)) {
    // White space alone is something to stop before; in any other field it is nothing.
    if (!(field.dataset.kind === "list" ? field.value.replaceAll("\n", "") : field.value.trim())) continue;
    const value = (READ[field.dataset.kind] ?? Number)(field.value);
    const usual = field.dataset.default;
    if (String(value) !== usual && !(usual && value === Number(usual))) given[field.dataset.parameter] = value;
  }
  return given;
}

export function write(scope, given) {
  for (const field of fields(scope)) {
    const value = given[field.dataset.parameter];
    field.value = value === undefined || value === null ? "" : (WRITE[field.dataset.kind] ?? String)(value);
  }
}

/** The first parameter that cannot be meant, as a sentence; "" when all are in order. */
export function bad(scope) {
  const wrong = fields(scope).find((one) => !one.validity.valid);
  if (wrong) return `${wrong.dataset.title}: ${wrong.validationMessage}`;
  const json = fields(scope).find((one) => one.dataset.kind === "json" && one.value.trim() && typeof object(one.value) !== "object");
  return json ? `${json.dataset.title}: this is no JSON object.` : "";
}

const shown = (value) => (Array.isArray(value) ? value.map((line) => JSON.stringify(line)).join(" ") || "none" : typeof value === "object" ? "given" : value);

/** The changed parameters in words: "temperature 0.7, max tokens 32". */
export function words(scope) {
  const named = Object.entries(read(scope)).map(([name, value]) => `${name.replaceAll("_", " ")} ${shown(value)}`);
  return named.join(", ") || "defaults: greedy, at most 64 tokens";
}
