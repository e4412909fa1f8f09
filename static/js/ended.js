// Jobs that ended are told once in every open page, the page of the job itself aside. They come with the strip of running work ([data-ended] in
// templates/shared/_live.html); a tab remembers up to when it has told, so that nothing is lost between two pages and nothing is said again.
import { toast } from "./toasts.js";

const KEY = "told";
const MOST = 3;

function tell() {
  const now = Number(document.documentElement.dataset.now || 0);
  const told = Number(sessionStorage.getItem(KEY) || now);
  const ended = JSON.parse(document.querySelector("#live [data-ended]")?.dataset.ended || "[]").filter((job) => job.at > told);
  sessionStorage.setItem(KEY, Math.max(told, ...ended.map((job) => job.at)));
  const elsewhere = ended.filter((job) => job.href !== location.pathname).reverse();
  if (elsewhere.length > MOST) toast({ text: `${elsewhere.length} jobs have ended, ${elsewhere.filter((job) => job.bad).length} of them failed.`, href: "/jobs", link: "See them", stays: true });
  else for (const { text, href, link, bad } of elsewhere) toast({ text, href, link, stays: bad });
}

if (document.getElementById("live")) {
  tell();
  document.addEventListener("htmx:after:swap", tell);
}
