// Live curves: uPlot behind <figure data-chart> (macro chart in templates/shared/_macros.html). The figure's JSON:
//   {"x": "step", "digits": 3, "series": [{"name": "validation", "metric": "eval_accuracy", "points": [[0, 0.41], [100, 0.72]]}],
//    "baseline": {"label": "untuned", "value": 0.45} (or "step": 0 instead of a value: the first line's point there, once it comes), "job": 12, "sync": "job-12", "href": "?step={x}#panel-samples" (where a press on a point leads), "low": 0, "high": 1, "most": 1 (the axis may end below it), "total": 900}
// "scale" multiplies every value before it is drawn, "unit" follows it, and with "clock" x is seconds, shown as 1:20. Smoothing and zoom are set from outside (chart-tools.js), dragging
// over a chart zooms all with the same "sync", a double click shows all steps. A series with "quiet": true is thin and grey and not read out, and with "labelled": false has no name at its end. Only x and series are needed; "total" is where x ends, so that a running curve does not shrink. A DOM event `metric` (htmx makes one of `event: metric` in a stream) brings {step, name, value} or a list of them; a step
// that is there already is replaced, so a replayed stream draws nothing twice. With "job" only events that name that job, or none, are taken.
import { colour } from "./theme.js";

const DASHES = [[], [6, 4], [2, 3]];
const INKS = ["--accent", "--soft", "--warn"];
const FONT = "11.5px Inter, ui-sans-serif, system-ui, sans-serif";
export const charts = new Set();
let zooming = false;

/** Lines of fewer points are never smoothed: each of them is a measurement of its own. */
const SMOOTHED_FROM = 20;

/** Exponential moving average without the pull of its start. */
function smoothed(values, weight) {
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    total = total * weight + 1 - weight;
    return sum / total;
  });
}

const clock = (seconds) => {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${String(rest).padStart(2, "0")}` : `${minutes}:${String(rest).padStart(2, "0")}`;
};

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
    this.scale = this.spec.scale ?? 1;
    this.weight = 0;
    this.series = this.spec.series.map((series) => ({ ...series, values: new Map(series.points.map(([step, value]) => [step, value * this.scale])) }));
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
      series.values.set(step, value * this.scale);
      mine = true;
    }
    if (!mine || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
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

  /** The points as they are drawn: smoothed where that was asked for. */
  drawn() {
    const [steps, ...columns] = this.data();
    return [steps, ...columns.map((column, index) => (this.weight && this.series[index].values.size >= SMOOTHED_FROM ? smoothed(column, this.weight) : column))];
  }

  draw() {
    this.uplot.batch(() => {
      this.uplot.setData(this.drawn(), false);
      const [min, max] = this.zoom ?? this.whole();
      this.uplot.setScale("x", { min, max });
    });
  }

  /** From the first step to the last, or to the end of the run where that is known. */
  whole() {
    const steps = this.series.flatMap((series) => [...series.values.keys()]);
    const [first, last] = steps.length ? [Math.min(...steps), Math.max(...steps)] : [0, 1];
    return [this.spec.clock ? 0 : first, Math.max(last, this.spec.total ?? 0, first + 1)];
  }

  smooth(weight) {
    this.weight = weight;
    this.draw();
    this.describe();
  }

  /** Show the steps from `min` to `max` only; without them all. */
  look(min, max) {
    const [first, last] = this.whole();
    this.zoom = min === undefined || (min <= first && max >= last) ? undefined : [Math.max(first, min), Math.min(last, max)];
    this.draw();
  }

  /** What was dragged over, for every chart under the same crosshair. uPlot tells each of them, whose scale the first one has changed by then. */
  dragged(plot) {
    const { left, width } = plot.select;
    if (width > 4 && !zooming) {
      zooming = true;
      queueMicrotask(() => { zooming = false; });
      const [min, max] = [left, left + width].map((at) => plot.posToVal(at, "x"));
      for (const chart of charts) if (chart === this || (this.spec.sync && chart.spec.sync === this.spec.sync)) chart.look(min, max);
    }
    if (width) plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  build() {
    this.uplot?.destroy();
    this.palette = Object.fromEntries([...INKS, "--faint", "--line", "--paper"].map((token) => [token, colour(token)]));
    this.uplot = new uPlot(this.options(), this.drawn(), this.plot);
    this.draw();
    this.describe();
  }

  options() {
    const axis = { stroke: this.palette["--faint"], font: FONT, ticks: { show: false } };
    const several = this.series.length > 1;
    return {
      width: this.plot.clientWidth || 300, height: this.plot.clientHeight || 200, padding: [10, several ? 74 : 48, 0, 0], legend: { show: false },
      scales: { x: { time: false, range: (_, min, max) => [min ?? 0, max ?? this.whole()[1]] }, y: { range: (_, min, max) => this.range(min, max) } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, gap: 4, space: 70, ...(this.spec.clock ? { values: (_, ticks) => ticks.map(clock) } : {}) },
        { ...axis, grid: { stroke: this.palette["--line"], width: 1 }, size: 44, gap: 6, space: 42, values: (_, ticks) => ticks.map((tick) => shown(tick, this.tickDigits(ticks))) },
      ],
      cursor: { sync: this.spec.sync ? { key: this.spec.sync } : undefined, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => this.everywhere() }, points: { size: 7 }, y: false },
      series: [{}, ...this.series.map((series, index) => this.line(index))],
      hooks: {
        setCursor: [(plot) => this.read(plot.cursor.idx)],
        setSelect: [(plot) => this.dragged(plot)],
        draw: [(plot) => this.annotate(plot)],
        ready: [(plot) => { if (this.spec.href) this.pressed(plot); }],
      },
    };
  }

  everywhere() {
    for (const chart of charts) if (chart === this || (this.spec.sync && chart.spec.sync === this.spec.sync)) chart.look();
    return null;
  }

  line(index) {
    const stroke = this.ink(this.series[index]);
    if (this.series[index].quiet) return { stroke, width: 1, spanGaps: true, points: { show: false } };
    const sparse = (_, at) => this.series[index].values.size <= 40 && at > 0;
    return { stroke, width: index === 0 ? 2 : 1.5, dash: DASHES[(index + Math.floor(index / INKS.length)) % DASHES.length], spanGaps: true, points: { show: sparse, size: 5, fill: stroke, stroke } };
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
    return [this.spec.low ?? low, this.spec.high ?? Math.min(high, this.spec.most ?? high)];
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
      ctx.fillText(`${baseline.label} ${shown(baseline.value, this.digits)}`, bbox.left + bbox.width - 4 * ratio, y - bbox.top < 16 * ratio ? y + 10 * ratio : y - 9 * ratio);
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
    this.readout.textContent = [`${this.spec.x} ${this.spec.clock ? clock(at) : at}`, ...values.map(([name, value]) => `${name} ${shown(value, this.digits)}${this.spec.unit ? ` ${this.spec.unit}` : ""}`), ...(this.weight ? ["drawn smoothed"] : [])].join(" · ");
  }

  before(series, at) {
    let found;
    for (const [step, value] of series.values) if (step <= at && (!found || step > found[0])) found = [step, value];
    return found?.[1];
  }

  /** A press on a point leads where its step is told of, unless it was a drag or becomes a double click. */
  pressed({ over, cursor }) {
    let from = 0;
    let later = 0;
    over.classList.add("opens");
    over.addEventListener("mousedown", (event) => { from = event.clientX; });
    over.addEventListener("dblclick", () => clearTimeout(later));
    over.addEventListener("click", (event) => {
      const step = this.uplot.data[0][cursor.idx];
      clearTimeout(later);
      if (step !== undefined && Math.abs(event.clientX - from) <= 4) later = setTimeout(() => location.assign(this.spec.href.replace("{x}", step)), 400);
    });
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
