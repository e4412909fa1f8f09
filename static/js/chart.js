// Live curves: uPlot behind <figure data-chart> (macro chart in templates/shared/_macros.html). The figure's JSON:
//   {"x": "step", "digits": 3, "series": [{"name": "validation", "metric": "eval_accuracy", "points": [[0, 0.41], [100, 0.72]]}],
//    "baseline": {"label": "untuned", "value": 0.45} (or "step": 0 instead of a value: the first line's point there, once it comes), "job": 12, "sync": "job-12", "href": "/jobs/12/checkpoints/{x}", "low": 0, "high": 1, "total": 900}
// A series with "quiet": true is thin and grey and not read out, and with "labelled": false has no name at its end. Only x and series are needed; "total" is where x ends, so that a running curve does not shrink. A DOM event `metric` (htmx makes one of `event: metric` in a stream) brings {step, name, value} or a list of them; a step
// that is there already is replaced, so a replayed stream draws nothing twice. With "job" only events that name that job, or none, are taken.
import { colour } from "./theme.js";

const DASHES = [[], [6, 4], [2, 3]];
const INKS = ["--accent", "--soft", "--warn"];
const FONT = "11.5px Inter, ui-sans-serif, system-ui, sans-serif";
const charts = new Set();

/** A number as formatting.number() writes it. */
const shown = (value, digits) => value.toFixed(digits).replace("-", "\u2212");

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.readout = figure.querySelector(".readout");
    this.details = figure.querySelector("details");
    this.spec = JSON.parse(figure.querySelector("script").textContent);
    this.digits = this.spec.digits ?? 3;
    this.series = this.spec.series.map((series) => ({ ...series, values: new Map(series.points) }));
    this.details.addEventListener("toggle", () => this.fillTable());
    this.observer = new ResizeObserver(() => this.resize());
    this.build();
    this.observer.observe(this.plot);
  }

  /** Takes live points; draws once per frame however many came. */
  take(points) {
    let mine = false;
    for (const { job, step, name, value } of points) {
      if (job !== undefined && this.spec.job !== undefined && job !== this.spec.job) continue;
      const series = this.series.find((candidate) => candidate.metric === name);
      if (!series) continue;
      series.values.set(step, value);
      mine = true;
    }
    if (!mine || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.uplot.setData(this.data());
      this.describe();
      this.fillTable();
    });
  }

  /** The dashed line, once its value is known. */
  baseline() {
    const { baseline } = this.spec;
    const value = baseline?.value ?? this.series[0].values.get(baseline?.step);
    return value === undefined ? undefined : { ...baseline, value };
  }

  data() {
    const steps = [...new Set(this.series.flatMap((series) => [...series.values.keys()]))].sort((a, b) => a - b);
    return [steps, ...this.series.map((series) => steps.map((step) => series.values.get(step) ?? null))];
  }

  build() {
    this.uplot?.destroy();
    this.palette = Object.fromEntries([...INKS, "--faint", "--line", "--paper"].map((token) => [token, colour(token)]));
    this.uplot = new uPlot(this.options(), this.data(), this.plot);
    this.describe();
  }

  options() {
    const axis = { stroke: this.palette["--faint"], font: FONT, ticks: { show: false } };
    const several = this.series.length > 1;
    return {
      width: this.plot.clientWidth || 300, height: this.plot.clientHeight || 200, padding: [10, several ? 74 : 48, 0, 0], legend: { show: false },
      scales: { x: { time: false, range: (_, min, max) => [min ?? 0, Math.max(max ?? 1, this.spec.total ?? 0)] }, y: { range: (_, min, max) => this.range(min, max) } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, gap: 4, space: 70 },
        { ...axis, grid: { stroke: this.palette["--line"], width: 1 }, size: 44, gap: 6, space: 42, values: (_, ticks) => ticks.map((tick) => shown(tick, this.tickDigits(ticks))) },
      ],
      cursor: { sync: this.spec.sync ? { key: this.spec.sync } : undefined, drag: { x: false, y: false }, points: { size: 7 }, y: false },
      series: [{}, ...this.series.map((series, index) => this.line(index))],
      hooks: {
        setCursor: [(plot) => this.read(plot.cursor.idx)],
        draw: [(plot) => this.annotate(plot)],
        ready: [(plot) => { if (this.spec.href) plot.over.addEventListener("click", () => this.open(plot.cursor.idx)); }],
      },
    };
  }

  line(index) {
    const stroke = this.ink(this.series[index]);
    if (this.series[index].quiet) return { stroke, width: 1, spanGaps: true, points: { show: false } };
    const sparse = (_, at) => this.series[index].values.size <= 40 && at > 0;
    return { stroke, width: index === 0 ? 2 : 1.5, dash: DASHES[index % DASHES.length], spanGaps: true, points: { show: sparse, size: 5, fill: stroke, stroke } };
  }

  /** Lines flagged "quiet" stand behind the first one: many of them, that nobody tells apart by colour. */
  ink(series) {
    return series.quiet ? this.palette["--faint"] : this.palette[INKS[this.series.indexOf(series) % INKS.length]];
  }

  tickDigits(ticks) {
    const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
    let digits = 0;
    while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
    return digits;
  }

  range(min, max) {
    if (min === null) [min, max] = [0, 1];
    const values = [min, max, this.baseline()?.value].filter((value) => value !== undefined);
    const [low, high] = uPlot.rangeNum(Math.min(...values), Math.max(...values), 0.08, false);
    return [this.spec.low ?? low, this.spec.high ?? high];
  }

  /** The dashed baseline with its name, and every line's name at its end instead of a legend. */
  annotate(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = FONT.replace("11.5px", `${11.5 * ratio}px`);
    ctx.textBaseline = "middle";
    const baseline = this.baseline();
    if (baseline) {
      const y = Math.round(plot.valToPos(baseline.value, "y", true)) + 0.5;
      ctx.strokeStyle = ctx.fillStyle = this.palette["--faint"];
      ctx.setLineDash([4 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.textAlign = "right";
      ctx.fillText(`${baseline.label} ${shown(baseline.value, this.digits)}`, bbox.left + bbox.width - 4 * ratio, y - 9 * ratio);
    }
    ctx.textAlign = "left";
    let last = -Infinity;
    for (const { text, x, y, ink } of this.ends(plot).sort((a, b) => a.y - b.y)) {
      last = Math.max(y, last + 13 * ratio);
      ctx.fillStyle = ink;
      ctx.fillText(text, x + 8 * ratio, last);
    }
    ctx.restore();
  }

  ends(plot) {
    return this.series.filter((series) => series.values.size && series.labelled !== false).map((series) => {
      const step = Math.max(...series.values.keys());
      const value = series.values.get(step);
      const ink = this.ink(series);
      const text = this.series.length > 1 ? series.name : shown(value, this.digits);
      return { text, ink, x: plot.valToPos(step, "x", true), y: plot.valToPos(value, "y", true) };
    });
  }

  /** The values under the crosshair, or the newest ones; a line without a point there shows its last one before. */
  read(index) {
    const steps = this.uplot?.data[0] ?? [];
    const at = steps[index ?? steps.length - 1];
    if (at === undefined) return;
    const values = this.series.filter((series) => !series.quiet).map((series) => [series.name, this.before(series, at)]).filter(([, value]) => value !== undefined);
    this.readout.textContent = [`${this.spec.x} ${at}`, ...values.map(([name, value]) => `${name} ${shown(value, this.digits)}`)].join(" · ");
  }

  before(series, at) {
    let found;
    for (const [step, value] of series.values) if (step <= at && (!found || step > found[0])) found = [step, value];
    return found?.[1];
  }

  open(index) {
    if (index !== null) location.assign(this.spec.href.replace("{x}", this.uplot.data[0][index]));
  }

  describe() {
    this.read(null);
    const title = this.figure.querySelector("figcaption strong").textContent;
    const baseline = this.baseline();
    const named = baseline ? `; ${baseline.label} ${shown(baseline.value, this.digits)}` : "";
    this.plot.setAttribute("aria-label", `${title}: ${this.readout.textContent || "no points yet"}${named}`);
  }

  /** The same points as a table, made when somebody opens it; newest first, and each step leads to its checkpoint where there is one. */
  fillTable() {
    if (!this.details.open) return;
    const [steps, ...columns] = this.data();
    const table = document.createElement("table");
    table.className = "table tight fit";
    const head = table.createTHead().insertRow();
    for (const name of [this.spec.x, ...this.series.map((series) => series.name)]) head.append(Object.assign(document.createElement("th"), { textContent: name, scope: "col", className: "num" }));
    const body = table.createTBody();
    for (let index = steps.length - 1; index >= 0; index -= 1) {
      const row = body.insertRow();
      const first = row.insertCell();
      first.className = "num";
      first.append(this.spec.href ? Object.assign(document.createElement("a"), { href: this.spec.href.replace("{x}", steps[index]), textContent: steps[index] }) : steps[index]);
      for (const column of columns) Object.assign(row.insertCell(), { className: "num", textContent: column[index] === null ? "" : shown(column[index], this.digits) });
    }
    this.details.querySelector(".scroll").replaceChildren(table);
  }

  resize() {
    if (!this.figure.isConnected) return this.end();
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (width && height && (width !== this.uplot.width || height !== this.uplot.height)) this.uplot.setSize({ width, height });
  }

  end() {
    this.observer.disconnect();
    this.uplot.destroy();
    charts.delete(this);
  }
}

function start() {
  for (const chart of charts) if (!chart.figure.isConnected) chart.end();
  const known = new Set([...charts].map((chart) => chart.figure));
  for (const figure of document.querySelectorAll("figure[data-chart]")) if (!known.has(figure)) charts.add(new Chart(figure));
}

document.addEventListener("metric", (event) => {
  const points = JSON.parse(event.detail.data);
  for (const chart of charts) chart.take(Array.isArray(points) ? points : [points]);
});
document.addEventListener("theme", () => charts.forEach((chart) => chart.build()));
document.addEventListener("htmx:after:swap", start);
start();
