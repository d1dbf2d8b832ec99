/** Symbols of answers: equal answers share a shape and a colour, assigned anew in each run. */

const SHAPES = {
  circle: "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12z",
  square: "M2.5 2.5h11v11h-11z",
  triangle: "M8 1.5l7 12.5h-14z",
  diamond: "M8 1l7 7-7 7-7-7z",
  cross: "M6 2h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
  hexagon: "M4.5 2h7l3.5 6-3.5 6h-7l-3.5-6z",
};
const NAMES = Object.keys(SHAPES);
const SVG = "http://www.w3.org/2000/svg";

/** Assigns a style to each distinct answer, in the order received. */
export class AnswerStyles {
  #indices = new Map();

  /** The style `{shape, tone, hollow}` of an answer; hollow when the shapes repeat. */
  of(text) {
    const key = text.trim().toLowerCase();
    if (!this.#indices.has(key)) this.#indices.set(key, this.#indices.size);
    const index = this.#indices.get(key);
    return { shape: NAMES[index % NAMES.length], tone: index % NAMES.length, hollow: index % 12 >= NAMES.length };
  }
}

/** The symbol of a style, as an SVG element. */
export function glyph(style) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `glyph tone-${style.tone}${style.hollow ? " hollow" : ""}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[style.shape]);
  svg.append(path);
  return svg;
}

/** A share in whole percent; 100% only for exactly 1. */
export function percent(share) {
  return `${share === 1 ? 100 : Math.min(99, Math.round(share * 100))}%`;
}

/** A number with its noun: `1 token`, `2,000 tokens`. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
