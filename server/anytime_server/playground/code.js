/** The panel that shows the request as code: its tabs and its copy button. */

import { element } from "./page.js";
import { LANGUAGES } from "./snippets.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const panel = element("snippet");
const copied = element("copied");
const copy = element("copy");

let language = "curl";
let request = null;

/** Show the code of a request. */
export function showCode(newRequest) {
  request = newRequest;
  render();
}

function render() {
  if (request) panel.firstElementChild.textContent = LANGUAGES[language](request);
}

function select(tab) {
  language = tab.id.replace("tab-", "");
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
  }
  panel.setAttribute("aria-labelledby", tab.id);
  render();
}

const MOVES = {
  ArrowRight: (index) => (index + 1) % tabs.length,
  ArrowLeft: (index) => (index + tabs.length - 1) % tabs.length,
  Home: () => 0,
  End: () => tabs.length - 1,
};

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    const next = tabs[move(index)];
    select(next);
    next.focus();
  });
}

copy.addEventListener("click", async () => {
  const label = await copyToClipboard(panel.textContent);
  copy.textContent = label;
  copied.textContent = label;
  setTimeout(() => {
    copy.textContent = "Copy";
    copied.textContent = "";
  }, 2000);
});

/** Copy the text; select it instead if the browser forbids access to the clipboard (without HTTPS). */
async function copyToClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(panel);
    return "Selected";
  }
}
