/** The token ruler: the length of the thinking, with flags for answers and marks where it stopped. */

import { glyph, percent } from "./answers.js";

const LAYERS = ["flags", "track", "fill", "planned", "strip", "ticks"];
const NUM_LANES = 3;
/** Pixels between two labels in a lane. */
const LABEL_GAP = 8;
const GLYPH_WIDTH = 12;

/** A ruler inside an element. Positions are in tokens. */
export class Ruler {
  #root;
  /** The elements, by name of the layer. */
  #layers = Object.fromEntries(LAYERS.map((name) => [name, part(name)]));
  #extent = 1;
  #limited = true;
  #tokens = 0;
  #planned = [];
  #flags = [];
  #stops = [];
  #isDrawPending = false;
  /** Whether anything but the number of tokens has changed since the last frame. */
  #needsLayout = true;

  constructor(root) {
    this.#root = root;
    const { flags, track, fill, planned, strip, ticks } = this.#layers;
    track.append(fill, planned);
    root.append(flags, track, strip, ticks);
    new ResizeObserver(() => this.#requestLayout()).observe(root);
  }

  /** Remove all answers and stop marks. */
  clear() {
    this.#remove(() => true);
  }

  /** Remove the answers and stop marks after `tokens`. */
  rewind(tokens) {
    this.#remove((placed) => placed.tokens > tokens);
  }

  #remove(isRemoved) {
    for (const { flag, band } of this.#flags.filter(isRemoved)) {
      flag.remove();
      band.remove();
    }
    for (const { mark } of this.#stops.filter(isRemoved)) mark.remove();
    this.#flags = this.#flags.filter((placed) => !isRemoved(placed));
    this.#stops = this.#stops.filter((placed) => !isRemoved(placed));
    this.#requestLayout();
  }

  /** Change the scale; answers and stop marks stay. */
  setScale({ extent, limited = this.#limited, planned = this.#planned }) {
    this.#extent = Math.max(1, extent);
    this.#limited = limited;
    this.#planned = planned;
    this.#requestLayout();
  }

  /** Move the end of the scale, unless the scale has no limit. */
  setLimit(tokens) {
    if (this.#limited) this.setScale({ extent: tokens });
  }

  /** Set the number of thinking tokens. A scale without a limit grows with it. */
  setTokens(tokens) {
    this.#tokens = tokens;
    if (tokens > this.#extent) this.setScale({ extent: this.#limited ? tokens : Math.ceil(tokens * 1.5) });
    this.#requestDraw();
  }

  /** Add an answer; `final` distinguishes the final answer from early ones. */
  addAnswer({ tokens, text, confidence, style, final }) {
    const flag = part("flag");
    if (final) flag.classList.add("final");
    const label = part("label");
    const words = part("words");
    words.textContent = text.trim().replace(/\s+/g, " ");
    const share = part("confidence");
    share.textContent = percent(confidence);
    label.append(glyph(style), words, share);
    flag.append(label);
    const band = part(`band tone-${style.tone}`);
    band.append(glyph(style));
    this.#layers.flags.append(flag);
    this.#layers.strip.append(band);
    this.#flags.push({ tokens, flag, label, band, key: `${style.shape}${style.hollow}`, final });
    this.#flags.sort((a, b) => a.tokens - b.tokens);
    this.#requestLayout();
  }

  /** Mark where the thinking stopped, with the reason. */
  markStop(tokens, reason) {
    const mark = part("stop-mark");
    const label = part("reason");
    label.textContent = reason;
    mark.append(label);
    for (const earlier of this.#stops) earlier.mark.replaceChildren(); // several labels would overlap
    this.#layers.track.append(mark);
    this.#stops.push({ tokens, mark });
    this.#requestLayout();
  }

  #requestLayout() {
    this.#needsLayout = true;
    this.#requestDraw();
  }

  #requestDraw() {
    if (this.#isDrawPending) return;
    this.#isDrawPending = true;
    requestAnimationFrame(() => {
      this.#isDrawPending = false;
      this.#draw();
    });
  }

  #draw() {
    const width = this.#root.clientWidth;
    const x = (tokens) => (Math.min(tokens, this.#extent) / this.#extent) * width;
    this.#layers.fill.style.width = `${x(this.#tokens)}px`;
    const last = this.#flags.at(-1);
    if (last) last.band.style.width = `${Math.max(0, x(this.#tokens) - x(last.tokens))}px`;
    if (!this.#needsLayout) return;
    this.#needsLayout = false;
    this.#placeTicks(x, width);
    this.#placePlanned(x);
    this.#placeFlags(x, width);
    this.#placeBands(x);
    for (const { tokens, mark } of this.#stops) {
      mark.style.left = `${x(tokens)}px`;
      mark.classList.toggle("flip", x(tokens) > width / 2);
    }
  }

  /** Fill the strip from each answer to the next with its colour, and its shape if there is room. */
  #placeBands(x) {
    let free = -Infinity;
    for (const [index, { tokens, band }] of this.#flags.entries()) {
      const next = this.#flags[index + 1]?.tokens ?? this.#tokens;
      band.style.left = `${x(tokens)}px`;
      band.style.width = `${Math.max(0, x(next) - x(tokens))}px`;
      band.classList.toggle("bare", x(tokens) < free);
      if (x(tokens) >= free) free = x(tokens) + GLYPH_WIDTH;
    }
  }

  /** Place the labels, those of answers that differ from the previous one first. Labels without room are hidden. */
  #placeFlags(x, width) {
    const lanes = Array.from({ length: NUM_LANES }, () => []);
    const isChanged = (_, index) => index === 0 || this.#flags[index].key !== this.#flags[index - 1].key;
    const first = this.#flags.filter((flag, index) => flag.final || isChanged(flag, index));
    const rest = this.#flags.filter((flag) => !first.includes(flag));
    for (const placed of [...first.reverse(), ...rest]) {
      placed.size ??= placed.label.offsetWidth;
      const from = x(placed.tokens);
      const spot = [from, from - placed.size]
        .filter((left) => left >= 0 && left + placed.size <= width)
        .map((left) => ({ left, lane: lanes.find((lane) => isFree(lane, left, left + placed.size)) }))
        .find(({ lane }) => lane);
      placed.flag.style.left = `${from}px`;
      placed.flag.classList.toggle("crowded", !spot);
      if (!spot) continue;
      placed.flag.classList.toggle("flip", spot.left < from);
      placed.flag.dataset.lane = lanes.indexOf(spot.lane);
      spot.lane.push([spot.left, spot.left + placed.size]);
    }
    this.#layers.flags.classList.toggle("high", lanes.at(-1).length > 0);
  }

  #placeTicks(x, width) {
    const step = niceStep(this.#extent, Math.max(3, Math.floor(width / 90)));
    const marked = [];
    for (let tokens = 0; tokens <= this.#extent; tokens += step) marked.push(tokens);
    if (this.#limited) {
      while (marked.length > 1 && x(this.#extent) - x(marked.at(-1)) < 48) marked.pop();
      marked.push(this.#extent);
    }
    this.#layers.ticks.replaceChildren(
      ...marked.map((tokens) => {
        const tick = part("tick");
        tick.textContent = tokens.toLocaleString("en");
        if (this.#limited && tokens === this.#extent) tick.classList.add("end");
        tick.style.left = `${x(tokens)}px`;
        return tick;
      }),
    );
  }

  /** Mark where early answers are planned. */
  #placePlanned(x) {
    const planned = this.#planned.filter((tokens) => tokens < this.#extent);
    this.#layers.planned.replaceChildren(
      ...planned.map((tokens) => {
        const dot = part("dot");
        dot.style.left = `${x(tokens)}px`;
        return dot;
      }),
    );
  }
}

function isFree(lane, left, right) {
  return lane.every(([l, r]) => right + LABEL_GAP <= l || r + LABEL_GAP <= left);
}

/** The smallest of 1, 2, 5, 10, 20, … that divides an extent into at most `maxSteps` steps. */
function niceStep(extent, maxSteps) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, extent / maxSteps)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => extent / step <= maxSteps);
}

function part(classNames) {
  const element = document.createElement("div");
  element.className = classNames;
  return element;
}
