/** The model's example questions, as buttons. */

import { element } from "./page.js";

const NUM_VISIBLE = 4;

/** Replace the examples; `select` is called with the one that is pressed. */
export function showExamples(examples, select) {
  const buttons = examples.map((text, index) => {
    const example = button(text, () => select(text));
    example.hidden = index >= NUM_VISIBLE;
    return example;
  });
  const more = button("more examples", () => {
    for (const example of buttons) example.hidden = false;
    more.hidden = true;
    buttons[NUM_VISIBLE].focus();
  });
  more.className = "more-examples";
  more.hidden = buttons.length <= NUM_VISIBLE;
  element("examples").replaceChildren(...buttons, more);
  element("examples").hidden = !buttons.length;
}

function button(text, onClick) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", onClick);
  return element;
}
