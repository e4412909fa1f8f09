// Right or wrong: the server reads answers and judges them as an evaluation of the row's split would. Answers that end together are asked about together.
import { post } from "./lab-stream.js";
import { typed } from "./lab-words.js";

const PAUSE_MS = 30;
const MOST = 25;
let waiting = [];
let timer = 0;

/** Which of the texts are right for a row, by its gold answer {text, dataset, split, place}; "shown" where the column's saved prompt shows it, null where nobody says. */
export function judge({ dataset, split, place }, { prompt_version }, texts) {
  timer ||= setTimeout(send, PAUSE_MS);
  return new Promise((resolve) => waiting.push({ row: { dataset, split, place, prompt_version, texts }, resolve }));
}

async function send() {
  const sent = waiting.splice(0, MOST);
  timer = waiting.length ? setTimeout(send) : 0;
  const response = await post("/lab/judge", { rows: sent.map(({ row }) => row) }).catch(() => null);
  const { judged } = (await response?.json().catch(() => null)) ?? { judged: [] };
  sent.forEach(({ resolve }, index) => resolve(judged[index] ?? null));
}

/** Whether a prompt shows the row among its shots: repeating it proves nothing. */
export const shown = (prompt, variables, gold) =>
  prompt?.mode === "structured" && prompt.shots.some((shot) => shot.input === typed(variables.input) && shot.output === typed(gold.text));
