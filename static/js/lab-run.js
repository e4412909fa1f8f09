// Runs: many answers over one connection, each cell for itself. A browser opens six connections to a server; some stay free for Stop and everything else.
import { word } from "./lab-drafts.js";
import { Problem, broken, events, post } from "./lab-stream.js";

const LANES = 4;
const GIVE_UP_MS = 1500;
const runs = new Set();
const waiting = [];
let lanes = 0;

/** Fields that every request carries besides its own, as the session of a notebook. */
export const besides = {};

class Run {
  constructor(answers) {
    this.answers = answers;
    this.controller = new AbortController();
    this.stopping = new Set();
    const one = (name) => [...new Set(answers.map((answer) => answer[name]))];
    [this.columns, this.rows, this.ticket] = [one("column"), one("row"), word()];
    for (const answer of answers) Object.assign(answer, { run: this, ticket: `${this.ticket}:${this.cell(answer).join(":")}` });
  }

  /** Where it stands in the table that is asked. */
  cell(answer) { return [this.columns.indexOf(answer.column), this.rows.indexOf(answer.row)]; }

  /** Those it still fills: an answer that was asked for again belongs to another run. */
  get left() { return this.answers.filter((answer) => answer.running && answer.run === this); }

  async go() {
    const cells = this.answers.map((answer) => this.cell(answer));
    const by = new Map(cells.map((cell, index) => [cell.join(":"), this.answers[index]]));
    const one = (found) => this.answers.find(found).asked;
    const body = {
      columns: this.columns.map((column) => ({ ...one((answer) => answer.column === column).column, ...besides, ticket: this.ticket })),
      inputs: this.rows.map((row) => one((answer) => answer.row === row).variables),
      cells,
    };
    try {
      const response = await post("/api/v1/generate/table", body, this.controller.signal);
      for await (const { id, event, data } of events(response)) this.hand(by.get(id), event, data);
      for (const answer of this.left) answer.fail(broken());
    } catch (error) {
      for (const answer of this.left) answer.fail(error instanceof Problem ? error : broken());
    }
  }

  hand(answer, event, data) {
    if (answer.run !== this) return;
    answer.take(event, data);
    if (event === "accepted" && this.stopping.has(answer)) ask(answer);
  }

  /** Ask for the end of some of its answers; when that does not come soon, or is the end of all, hang up. Cells that still wait have no request: their columns are named. */
  stop(answers) {
    for (const answer of answers) {
      this.stopping.add(answer);
      answer.wait("Stopping");
    }
    const whole = (column) => this.left.every((answer) => answer.column !== column || this.stopping.has(answer));
    const columns = [...new Set(answers.map((answer) => answer.column))].filter(whole).map((column) => this.columns.indexOf(column));
    // First the columns: a cell that is stopped gives its place to one that waits.
    const named = columns.length ? post(`/api/v1/generate/table/${this.ticket}/stop`, { columns }).catch(() => {}) : Promise.resolve();
    named.then(() => { for (const answer of answers) if (answer.request && answer.running && answer.run === this) ask(answer); });
    const hangUp = () => {
      if (!this.left.every((answer) => this.stopping.has(answer))) return;
      for (const answer of this.left) answer.halt();
      this.controller.abort();
    };
    if (this.left.some((answer) => !answer.request)) hangUp();
    setTimeout(hangUp, GIVE_UP_MS);
  }
}

const ask = (answer) => fetch(`/api/v1/generate/${answer.request}/stop`, { method: "POST" }).catch(() => {});

/** Send answers that have begun; they fill by themselves. */
export async function send(answers) {
  const run = new Run(answers);
  runs.add(run);
  if (lanes >= LANES) await new Promise((resolve) => waiting.push(resolve));
  lanes += 1;
  await run.go();
  lanes -= 1;
  runs.delete(run);
  waiting.shift()?.();
}

export function stop(answers) {
  for (const run of runs) {
    const mine = run.left.filter((answer) => answers.includes(answer));
    if (mine.length) run.stop(mine);
  }
}

addEventListener("pagehide", () => { for (const run of runs) run.controller.abort(); });
