// The prompts room: dialogs that close, links that are copied, and a file that is imported as it is.
import "./links.js";
import { post } from "./lab-stream.js";

const form = document.getElementById("import-form");

document.addEventListener("click", (event) => event.target.closest("[data-close]")?.closest("dialog").close());

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const error = document.getElementById("import-error");
  error.hidden = true;
  try {
    const text = await document.getElementById("import-file").files[0].text();
    const response = await post("/api/v1/prompts/import", JSON.parse(text));
    location.assign(`/prompts/${(await response.json()).id}`);
  } catch (problem) {
    error.hidden = false;
    error.textContent = problem instanceof SyntaxError ? `This file is not JSON: ${problem.message}.` : `${problem.message} ${problem.advice ?? ""}`;
  }
});
