// The tools over a job's curves ([data-chart-tools]): smoothing, kept in this browser, and zoom by button or keyboard. They act on the charts beside them.
import { charts } from "./chart.js";

const FACTORS = { in: 0.5, out: 2 };

for (const tools of document.querySelectorAll("[data-chart-tools]")) {
  const place = tools.parentElement;
  const mine = () => [...charts].filter((chart) => place.contains(chart.figure));
  const slider = tools.querySelector("[data-chart-smooth]");
  const said = tools.querySelector("output");

  const smooth = () => {
    const weight = Number(slider.value);
    said.textContent = weight ? weight.toFixed(2) : "off";
    localStorage.setItem("smoothing", slider.value);
    for (const chart of mine()) chart.smooth(weight);
  };
  slider.value = localStorage.getItem("smoothing") || "0";
  slider.addEventListener("input", smooth);
  if (Number(slider.value)) smooth();

  tools.addEventListener("click", (event) => {
    const how = event.target.closest("[data-chart-zoom]")?.dataset.chartZoom;
    if (!how) return;
    for (const chart of mine()) {
      const [first, last] = chart.whole();
      const [min, max] = chart.zoom ?? [first, last];
      const width = Math.min(last - first, Math.max(2, (max - min) * (FACTORS[how] ?? 1)));
      // What is zoomed into is the newest part, until somebody goes elsewhere.
      const middle = how === "in" && !chart.zoom ? last - width / 2 : (min + max) / 2 + ({ left: -width / 2, right: width / 2 }[how] ?? 0);
      const start = Math.min(Math.max(first, middle - width / 2), last - width);
      if (how === "all") chart.look();
      else chart.look(start, start + width);
    }
  });
}
// The samples that somebody came for, where the table is wider than the screen.
document.querySelector(".samples .asked")?.scrollIntoView({ block: "nearest", inline: "center" });
