// Uploads with a progress bar that tells the truth (XHR; fetch has no upload progress) and a cancel button.
//   <form data-upload data-max-bytes="..." action method="post" enctype="multipart/form-data" data-target="#result"> drop(...) </form>
// data-upload="wait": a chosen file is only named, and sent when the form is submitted.
// The answer: HX-Redirect goes there; anything else is HTML for data-target (problems of a refused file, for example).
const UNITS = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];

function size(bytes) {
  const unit = UNITS.find(([factor]) => bytes >= factor);
  return unit ? `${(bytes / unit[0]).toFixed(1).replace(/\.0$/, "")}\u00a0${unit[1]}` : `${bytes}\u00a0B`;
}

function describe(loaded, total, seconds) {
  const rate = loaded / Math.max(seconds, 0.001);
  const left = Math.ceil((total - loaded) / Math.max(rate, 1));
  if (loaded >= total) return `${size(total)} sent; reading the file`;
  return `${size(loaded)} of ${size(total)}, ${size(Math.round(rate))}/s` + (seconds > 1 ? `, about ${left}\u00a0s left` : "");
}

function panel(form) {
  const box = form.querySelector("[data-upload-state]");
  return { box, text: box.querySelector("output"), bar: box.querySelector("progress"), cancel: box.querySelector("[data-upload-cancel]") };
}

function answer(form, request) {
  const redirect = request.getResponseHeader("HX-Redirect");
  if (redirect) return location.assign(redirect);
  const target = form.dataset.target ? document.querySelector(form.dataset.target) : form;
  return htmx.swap({ text: request.responseText, target, swap: "innerHTML", sourceElement: form });
}

function send(form) {
  const { box, text, bar, cancel } = panel(form);
  const request = new XMLHttpRequest();
  const started = performance.now();
  let sent = false;
  const stored = (no) => (sent ? "The file may have arrived: look at Data before you send it again." : no);
  const end = (message) => { form.removeAttribute("aria-busy"); text.textContent = message; bar.hidden = cancel.hidden = true; letGo(form); };
  box.hidden = bar.hidden = cancel.hidden = false;
  form.setAttribute("aria-busy", "true");
  request.upload.addEventListener("progress", (event) => {
    const done = event.loaded >= event.total;
    if (done) bar.removeAttribute("value");
    else bar.value = event.loaded / event.total;
    text.textContent = describe(event.loaded, event.total, (performance.now() - started) / 1000);
  });
  request.addEventListener("load", () => { end(""); box.hidden = true; answer(form, request); });
  request.upload.addEventListener("load", () => { sent = true; });
  request.addEventListener("error", () => end(`The connection broke. ${stored("Nothing was stored; send the file again.")}`));
  request.addEventListener("abort", () => end(`Cancelled. ${stored("Nothing was stored.")}`));
  cancel.onclick = () => request.abort();
  request.open("POST", form.action);
  request.setRequestHeader("HX-Request", "true");
  request.send(new FormData(form));
}

/** A browser says nothing when the file that is chosen already is chosen again. */
function letGo(form) {
  if (form.dataset.upload !== "wait") form.querySelector("input[type=file]").value = "";
}

/** Names the chosen file, and offers its name to a field that waits for one (data-file-name). */
function name(form, file) {
  const { box, text, bar, cancel } = panel(form);
  box.hidden = false;
  bar.hidden = cancel.hidden = true;
  text.textContent = `${file.name}, ${size(file.size)}`;
  const field = form.querySelector("[data-file-name]");
  if (field) field.placeholder = file.name.replace(/\.[^.]+$/, "");
}

function start(form) {
  const file = form.querySelector("input[type=file]").files[0];
  if (!file || form.getAttribute("aria-busy")) return;
  const limit = Number(form.dataset.maxBytes || Infinity);
  if (file.size <= limit) return send(form);
  const { box, text, bar, cancel } = panel(form);
  box.hidden = false;
  bar.hidden = cancel.hidden = true;
  text.textContent = `${file.name} has ${size(file.size)}; this installation takes ${size(limit)}.`;
  letGo(form);
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-upload]")) return;
  event.preventDefault();
  start(event.target);
});
document.addEventListener("change", (event) => {
  if (!event.target.matches("form[data-upload] .drop input[type=file]")) return;
  const { form, files } = event.target;
  if (form.dataset.upload !== "wait") start(form);
  else if (files[0]) name(form, files[0]);
});
// A file that was chosen before this script was there.
for (const input of document.querySelectorAll("form[data-upload] .drop input[type=file]")) if (input.files.length) input.dispatchEvent(new Event("change", { bubbles: true }));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const zone = event.target.closest?.(".drop");
    if (!zone) return;
    event.preventDefault();
    zone.classList.toggle("is-over", kind === "dragover");
    if (kind !== "drop" || !event.dataTransfer.files.length) return;
    const input = zone.querySelector("input[type=file]");
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
}
