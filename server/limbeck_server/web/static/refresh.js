// Asks for the page again while there is something to see, and puts what changed in its place.
"use strict";

async function refresh(main) {
  const response = await fetch(location.href);
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const next = page.querySelector("main");
  if (!next || next.innerHTML === main.shown) return;
  main.shown = next.innerHTML;
  for (const details of main.querySelectorAll("details[open]")) {
    next.querySelector(`#${details.id}`)?.setAttribute("open", "");
  }
  // An image that stays keeps its element, so that it is not loaded again.
  for (const image of next.querySelectorAll("img")) {
    const old = main.querySelector(`img[src="${image.getAttribute("src")}"]`);
    if (old) image.replaceWith(old);
  }
  document.querySelector("header").replaceWith(page.querySelector("header"));
  document.title = page.title;
  main.replaceChildren(...next.childNodes);
  if (!next.dataset.refresh) delete main.dataset.refresh;
}

(function follow() {
  const main = document.querySelector("main[data-refresh]");
  if (!main) return;
  setTimeout(() => {
    const turn = document.hidden ? Promise.resolve() : refresh(main);
    turn.catch(() => {}).finally(follow);
  }, 1000 * main.dataset.refresh);
})();
