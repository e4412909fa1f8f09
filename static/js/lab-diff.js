// What differs between two texts, word by word.
const MOST = 4_000_000;
const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

/** The length of the longest common run of words behind every pair of places. */
function common(a, b) {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  return table;
}

/** From one text to another as [[kind, text], ...]: kind is "same", "del" or "ins". Texts too long to compare word by word are one change. */
export function diff(from, to) {
  let [a, b] = [words(from), words(to)];
  const found = [];
  const add = (kind, text) => {
    if (!text) return;
    if (found.at(-1)?.[0] === kind) found.at(-1)[1] += text;
    else found.push([kind, text]);
  };
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  const tail = a.slice(a.length - end);
  add("same", a.slice(0, start).join(""));
  [a, b] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  if (a.length * b.length > MOST) {
    add("del", a.join(""));
    add("ins", b.join(""));
  } else {
    const table = common(a, b);
    const width = b.length + 1;
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { add("same", a[i]); i += 1; j += 1; }
      else if (i < a.length && (j === b.length || table[(i + 1) * width + j] >= table[i * width + j + 1])) { add("del", a[i]); i += 1; }
      else { add("ins", b[j]); j += 1; }
    }
  }
  add("same", tail.join(""));
  return found;
}

/** The difference as marked text. */
export function draw(element, from, to) {
  element.replaceChildren(...diff(from, to).map(([kind, text]) => (kind === "same" ? text : Object.assign(document.createElement(kind), { textContent: text }))));
}
