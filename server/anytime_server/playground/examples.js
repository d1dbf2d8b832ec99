/** The model's example questions, as buttons. */

import { element } from "./page.js";

const SHOWN = 4;

/** Offer examples in place of those before; `choose` takes the one that is pressed. */
export function offer(examples, choose) {
  const buttons = examples.map((text, index) => {
    const one = button(text, () => choose(text));
    one.hidden = index >= SHOWN;
    return one;
  });
  const more = button("more examples", () => {
    for (const one of buttons) one.hidden = false;
    more.hidden = true;
    buttons[SHOWN].focus();
  });
  more.className = "more-examples";
  more.hidden = buttons.length <= SHOWN;
  element("examples").replaceChildren(...buttons, more);
  element("examples").hidden = !buttons.length;
}

function button(text, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", press);
  return made;
}
