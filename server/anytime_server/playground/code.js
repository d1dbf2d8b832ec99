/** The panel with the request as code: its tabs and its copy button. */

import { element } from "./page.js";
import { LANGUAGES } from "./snippets.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const panel = element("snippet");
const copied = element("copied");
const copy = element("copy");

let shown = "curl";
let request = null;

/** Show the code of another request. */
export function show(next) {
  request = next;
  draw();
}

function draw() {
  if (request) panel.firstElementChild.textContent = LANGUAGES[shown](request);
}

function choose(tab) {
  shown = tab.id.replace("tab-", "");
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
  }
  panel.setAttribute("aria-labelledby", tab.id);
  draw();
}

const MOVES = {
  ArrowRight: (index) => (index + 1) % tabs.length,
  ArrowLeft: (index) => (index + tabs.length - 1) % tabs.length,
  Home: () => 0,
  End: () => tabs.length - 1,
};

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    const next = tabs[move(index)];
    choose(next);
    next.focus();
  });
}

copy.addEventListener("click", async () => {
  const told = await put(panel.textContent);
  copy.textContent = told;
  copied.textContent = told;
  setTimeout(() => {
    copy.textContent = "Copy";
    copied.textContent = "";
  }, 2000);
});

/** To the clipboard; where the browser forbids that (no HTTPS), the code is selected instead. */
async function put(text) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(panel);
    return "Selected";
  }
}
