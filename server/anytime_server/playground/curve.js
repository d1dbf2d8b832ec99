/** A plot of the model's measured accuracy over the budget, with the position of the current run. */

import { count, percent } from "./answers.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 340;
const HEIGHT = 220;
const LEFT = 42;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 40;

/** Draws points `{budget, accuracy, low, high, n}`, budgets ascending. */
export class Curve {
  #points;
  #line;
  #dot;
  #reading;

  constructor(root, reading, measured, points) {
    this.#points = points;
    this.#reading = reading;
    root.replaceChildren(this.#render());
    const sizes = [...new Set(points.map((point) => point.n.toLocaleString("en")))].join(" to ");
    measured.textContent =
      `Measured at the marked budgets, on ${sizes} held-out problems each. The band is the 95% interval; ` +
      `the line between the marks is interpolated.`;
  }

  /** Mark a number of tokens, and show the accuracy there as text that begins with `label`. */
  pointAt(tokens, label) {
    const { budget: first } = this.#points[0];
    const last = this.#points.at(-1);
    const isMeasured = tokens >= first;
    this.#line.setAttribute("visibility", "visible");
    this.#dot.setAttribute("visibility", isMeasured ? "visible" : "hidden");
    const x = this.#x(Math.min(tokens, last.budget));
    this.#line.setAttribute("x1", x);
    this.#line.setAttribute("x2", x);
    this.#dot.setAttribute("cx", x);
    this.#dot.setAttribute("cy", this.#y(this.#accuracy(tokens)));
    const beyond = tokens > last.budget ? ` (measured up to ${last.budget.toLocaleString("en")})` : "";
    this.#reading.textContent = isMeasured
      ? `${label}: about ${percent(this.#accuracy(tokens))} of the measured problems correct${beyond}`
      : `${label}: not measured below ${count(first, "token")}`;
  }

  #accuracy(tokens) {
    const points = this.#points;
    const next = points.findIndex((point) => point.budget >= tokens);
    if (next < 0) return points.at(-1).accuracy;
    if (next === 0) return points[0].accuracy;
    const [a, b] = [points[next - 1], points[next]];
    return a.accuracy + ((b.accuracy - a.accuracy) * (tokens - a.budget)) / (b.budget - a.budget);
  }

  #x(tokens) {
    return LEFT + (tokens / this.#points.at(-1).budget) * (WIDTH - LEFT - RIGHT);
  }

  #y(share) {
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP);
  }

  #render() {
    const points = this.#points;
    const path = (pairs) => pairs.map(([tokens, share]) => `${this.#x(tokens)} ${this.#y(share)}`).join("L");
    const over = points.map((point) => [point.budget, point.high]);
    const under = points.map((point) => [point.budget, point.low]).reverse();
    const line = points.map((point) => [point.budget, point.accuracy]);
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": "curve-name" });
    svg.append(draw("title", { id: "curve-name" }, describe(points)));
    for (const share of [0, 0.5, 1]) {
      const y = this.#y(share);
      svg.append(
        draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
        draw("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, percent(share)),
      );
    }
    let free = WIDTH; // labels from right to left; those that would overlap are left out
    for (const { budget } of points.toReversed()) {
      const label = budget.toLocaleString("en");
      const [x, half] = [this.#x(budget), 4 * label.length];
      if (x + half > free) continue;
      svg.append(draw("text", { x, y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, label));
      free = x - half - 4;
    }
    svg.append(
      draw(
        "text",
        { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" },
        "thinking budget, tokens",
      ),
      draw("path", { class: "interval", d: `M${path([...over, ...under])}Z` }),
      draw("path", { class: "line", d: `M${path(line)}` }),
      ...line.map(([tokens, share]) =>
        draw("circle", { class: "measured", cx: this.#x(tokens), cy: this.#y(share), r: 3 }),
      ),
    );
    this.#line = draw("line", { class: "here", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.#dot = draw("circle", { class: "here", r: 5.5, visibility: "hidden" });
    svg.append(this.#line, this.#dot);
    return svg;
  }
}

function describe(points) {
  const each = points.map((point) => `${percent(point.accuracy)} at ${point.budget}`);
  return `Share of problems answered correctly, by thinking budget in tokens: ${each.join(", ")}`;
}

function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}
