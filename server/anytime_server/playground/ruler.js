/** The token ruler: thinking as a length, with the answers that it gave on the way as flags, and the cut. */

import { glyph, percent } from "./answers.js";

const LAYERS = ["flags", "track", "fill", "plans", "strip", "ticks"];
const LANES = 3;
const GAP = 8;
const GLYPH = 12;

/** A ruler in an element. Positions are in tokens. */
export class Ruler {
  #root;
  /** Elements; what they show is in the fields below. */
  #layers = Object.fromEntries(LAYERS.map((name) => [name, part(name)]));
  #extent = 1;
  #limited = true;
  #tokens = 0;
  #plans = [];
  #flags = [];
  #cuts = [];
  #drawing = false;
  /** More has changed than how far it reaches. */
  #stale = true;

  constructor(root) {
    this.#root = root;
    const { flags, track, fill, plans, strip, ticks } = this.#layers;
    track.append(fill, plans);
    root.append(flags, track, strip, ticks);
    new ResizeObserver(() => this.#redraw()).observe(root);
  }

  /** Begin anew. */
  clear() {
    this.#drop(() => true);
  }

  /** Go back to so many tokens: what came after them is gone. */
  rewind(tokens) {
    this.#drop((placed) => placed.tokens > tokens);
  }

  #drop(gone) {
    for (const { flag, band } of this.#flags.filter(gone)) {
      flag.remove();
      band.remove();
    }
    for (const { mark } of this.#cuts.filter(gone)) mark.remove();
    this.#flags = this.#flags.filter((placed) => !gone(placed));
    this.#cuts = this.#cuts.filter((placed) => !gone(placed));
    this.#redraw();
  }

  /** Another scale; what is on it stays. */
  scale({ extent, limited = this.#limited, planned = this.#plans }) {
    this.#extent = Math.max(1, extent);
    this.#limited = limited;
    this.#plans = planned;
    this.#redraw();
  }

  /** The limit moved; a scale without one stays. */
  limit(tokens) {
    if (this.#limited) this.scale({ extent: tokens });
  }

  /** So many tokens have been thought. A scale without a limit grows with them. */
  reach(tokens) {
    this.#tokens = tokens;
    if (tokens > this.#extent) this.scale({ extent: this.#limited ? tokens : Math.ceil(tokens * 1.5) });
    this.#draw();
  }

  /** An answer; `final` if the thinking stopped for it. */
  answer({ tokens, text, confidence, look, final }) {
    const flag = part("flag");
    if (final) flag.classList.add("final");
    const label = part("label");
    const words = part("words");
    words.textContent = text.trim().replace(/\s+/g, " ");
    const sure = part("sure");
    sure.textContent = percent(confidence);
    label.append(glyph(look), words, sure);
    flag.append(label);
    const band = part(`band tone-${look.tone}`);
    band.append(glyph(look));
    this.#layers.flags.append(flag);
    this.#layers.strip.append(band);
    this.#flags.push({ tokens, flag, label, band, key: `${look.shape}${look.hollow}`, final });
    this.#flags.sort((a, b) => a.tokens - b.tokens);
    this.#redraw();
  }

  /** The thinking was cut here. */
  cut(tokens, words) {
    const mark = part("cut");
    const label = part("why");
    label.textContent = words;
    mark.append(label);
    for (const earlier of this.#cuts) earlier.mark.replaceChildren(); // several labels would overlap
    this.#layers.track.append(mark);
    this.#cuts.push({ tokens, mark });
    this.#redraw();
  }

  #redraw() {
    this.#stale = true;
    this.#draw();
  }

  /** At the next frame. */
  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#place();
    });
  }

  #place() {
    const width = this.#root.clientWidth;
    const x = (tokens) => (Math.min(tokens, this.#extent) / this.#extent) * width;
    this.#layers.fill.style.width = `${x(this.#tokens)}px`;
    const last = this.#flags.at(-1);
    if (last) last.band.style.width = `${Math.max(0, x(this.#tokens) - x(last.tokens))}px`;
    if (!this.#stale) return;
    this.#stale = false;
    this.#placeTicks(x, width);
    this.#placePlans(x);
    this.#placeFlags(x, width);
    this.#placeBands(x);
    for (const { tokens, mark } of this.#cuts) {
      mark.style.left = `${x(tokens)}px`;
      mark.classList.toggle("flip", x(tokens) > width / 2);
    }
  }

  /** From each answer to the next its colour, with its shape where there is room for it. */
  #placeBands(x) {
    let free = -Infinity;
    for (const [index, { tokens, band }] of this.#flags.entries()) {
      const next = this.#flags[index + 1]?.tokens ?? this.#tokens;
      band.style.left = `${x(tokens)}px`;
      band.style.width = `${Math.max(0, x(next) - x(tokens))}px`;
      band.classList.toggle("bare", x(tokens) < free);
      if (x(tokens) >= free) free = x(tokens) + GLYPH;
    }
  }

  /** Answers that changed get room first; one that finds none has its band alone. */
  #placeFlags(x, width) {
    const lanes = Array.from({ length: LANES }, () => []);
    const changed = (_, index) => index === 0 || this.#flags[index].key !== this.#flags[index - 1].key;
    const first = this.#flags.filter((flag, index) => flag.final || changed(flag, index));
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

  #placePlans(x) {
    const plans = this.#plans.filter((tokens) => tokens < this.#extent);
    this.#layers.plans.replaceChildren(
      ...plans.map((tokens) => {
        const plan = part("plan");
        plan.style.left = `${x(tokens)}px`;
        return plan;
      }),
    );
  }
}

function isFree(lane, left, right) {
  return lane.every(([l, r]) => right + GAP <= l || r + GAP <= left);
}

/** The least of 1, 2, 5, 10, 20, … of which no more than `most` go into an extent. */
function niceStep(extent, most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, extent / most)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => extent / step <= most);
}

function part(names) {
  const element = document.createElement("div");
  element.className = names;
  return element;
}
