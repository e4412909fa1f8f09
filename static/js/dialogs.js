// One question dialog for data-confirm (plain forms and links) and hx-confirm (htmx requests); data-dialog="id" opens any <dialog>.
//   <button data-confirm="The best checkpoint is kept." data-confirm-title="Stop job 12?" data-confirm-verb="Stop">
// The answer is red when what asks is: class "danger".
const dialog = document.getElementById("confirm");
let settle = () => {};

// "close" comes a moment after the dialog has gone. Where the next question stands by then, it is not that one's answer.
dialog.addEventListener("close", () => { if (!dialog.open) settle(dialog.returnValue === "yes"); });

/** Where a menu opens a dialog, the keyboard comes back to the menu's button: the menu itself is gone by then. */
const leave = (element) => element.closest("[popover]:popover-open")?.hidePopover();

/** Resolves to true when the person says yes. Without a verb of its own the dialog says Continue. */
export function ask({ title, text, verb, danger }) {
  document.getElementById("confirm-title").textContent = title || "Are you sure?";
  document.getElementById("confirm-text").textContent = text;
  settle(!dialog.open && dialog.returnValue === "yes");
  const yes = dialog.querySelector("[value=yes]");
  yes.textContent = verb || "Continue";
  yes.classList.toggle("danger", Boolean(danger));
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => { settle = resolve; });
}

const words = (element, text) => ({ text, title: element.dataset.confirmTitle, verb: element.dataset.confirmVerb, danger: element.matches(".danger") });

document.addEventListener("click", async (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) {
    leave(opener);
    document.getElementById(opener.dataset.dialog).showModal();
  }
  const element = event.target.closest("[data-confirm]:not([aria-disabled=true])");
  if (!element || element.dataset.confirmed) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  leave(element);
  if (!(await ask(words(element, element.dataset.confirm)))) return;
  element.dataset.confirmed = "yes";
  element.click();
  delete element.dataset.confirmed;
}, true);

document.addEventListener("htmx:confirm", async (event) => {
  const { ctx, issueRequest, dropRequest } = event.detail;
  event.preventDefault();
  if (await ask(words(ctx.sourceElement, ctx.confirm))) issueRequest();
  else dropRequest();
});
