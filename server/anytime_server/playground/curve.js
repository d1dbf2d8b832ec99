/** The checkpoint's accuracy over its budget, as measured, and where a run is on it. */

import { count, percent } from "./answers.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 340;
const HEIGHT = 220;
const LEFT = 42;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 40;

/** A drawing of points `{budget, accuracy, low, high, n}`, budgets ascending. */
export class Curve {
  #points;
  #line;
  #dot;
  #reading;

  constructor(root, reading, measured, points) {
    this.#points = points;
    this.#reading = reading;
    root.replaceChildren(this.#drawing());
    const sizes = [...new Set(points.map((point) => point.n.toLocaleString("en")))].join(" to ");
    measured.textContent =
      `Measured at the marked budgets, on ${sizes} held-out problems each. The band is the 95% interval; ` +
      `between the marks the line is only drawn.`;
  }

  /** Point at a number of tokens, and say in words what is known there. `told` begins the sentence. */
  pointAt(tokens, told) {
    const { budget: first } = this.#points[0];
    const last = this.#points.at(-1);
    const known = tokens >= first;
    this.#line.setAttribute("visibility", "visible");
    this.#dot.setAttribute("visibility", known ? "visible" : "hidden");
    const x = this.#x(Math.min(tokens, last.budget));
    this.#line.setAttribute("x1", x);
    this.#line.setAttribute("x2", x);
    this.#dot.setAttribute("cx", x);
    this.#dot.setAttribute("cy", this.#y(this.#accuracy(tokens)));
    const beyond = tokens > last.budget ? ` (measured up to ${last.budget.toLocaleString("en")})` : "";
    this.#reading.textContent = known
      ? `${told}: right in about ${percent(this.#accuracy(tokens))} of the problems it was measured on${beyond}`
      : `${told}: not measured below ${count(first, "token")}`;
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

  #drawing() {
    const points = this.#points;
    const path = (pairs) => pairs.map(([tokens, share]) => `${this.#x(tokens)} ${this.#y(share)}`).join("L");
    const over = points.map((point) => [point.budget, point.high]);
    const under = points.map((point) => [point.budget, point.low]).reverse();
    const line = points.map((point) => [point.budget, point.accuracy]);
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": "curve-name" });
    svg.append(draw("title", { id: "curve-name" }, described(points)));
    for (const share of [0, 0.5, 1]) {
      const y = this.#y(share);
      svg.append(
        draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
        draw("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, percent(share)),
      );
    }
    let free = WIDTH; // labels from the right, as many as do not touch
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

function described(points) {
  const each = points.map((point) => `${percent(point.accuracy)} at ${point.budget}`);
  return `Share of problems answered rightly, by thinking budget in tokens: ${each.join(", ")}`;
}

function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}
