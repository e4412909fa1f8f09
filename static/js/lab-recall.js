// Answers that were asked for before the page was loaded anew: found again in the notebook, where the server writes every run, by their tickets.
import { remember } from "./lab-marks.js";
import { Problem } from "./lab-stream.js";

const AT_ONCE = 100;
const PAUSE_MS = 500;
/** A run that the page left behind is written down as soon as the server hears of that. */
const TRIES = 20;

const gone = () => new Problem({ message: "This answer is not in the notebook any more.", advice: "Run it again." });
const left = () => new Problem({ message: "This answer was stopped when the page was left, before anything of it had come.", advice: "Run it again." });

/** The runs of some answers by their tickets; none while the server does not answer. */
async function ask(answers) {
  const response = await fetch(`/lab/answers?${new URLSearchParams(answers.map((answer) => ["ticket", answer.ticket]))}`).catch(() => null);
  return response?.ok ? response.json() : null;
}

/** Look for a few, again and again while one may still be on its way into the notebook. */
async function look(answers) {
  let sought = answers;
  for (let turn = 1; sought.length; turn += 1) {
    const runs = await ask(sought);
    const open = sought.filter((answer) => answer.sought);
    for (const answer of open) {
      const run = runs?.[answer.ticket];
      const { over, error } = answer.reference;
      if (run) {
        answer.show(run);
        remember(answer.texts, run.marks);
      } else if (runs && over) answer.fail(error ? new Problem(error) : gone());
      else if (turn === TRIES) answer.fail(left());
    }
    sought = open.filter((answer) => answer.sought);
    if (sought.length) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** `answers` seek their runs already. */
export function recall(answers) {
  for (let start = 0; start < answers.length; start += AT_ONCE) look(answers.slice(start, start + AT_ONCE));
}
