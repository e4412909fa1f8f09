// [data-link="https://…"] copies that address. Without a secure context there is no clipboard: the address is shown instead.
import { toast } from "./toasts.js";

document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-link]")?.dataset.link;
  if (!link) return;
  if (navigator.clipboard) await navigator.clipboard.writeText(link);
  toast({ text: navigator.clipboard ? "Link copied: it opens exactly this version." : link });
});
