// Where a page goes when its session is over. Signing out leads there by itself and says who left, so that what is theirs here goes: nothing may overtake it.
let leaving = false;
document.addEventListener("submit", (event) => { leaving ||= event.target.matches('[action="/sign-out"]'); });

export function over() {
  if (!leaving) location.assign("/sign-in");
}
