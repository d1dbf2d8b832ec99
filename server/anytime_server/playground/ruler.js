/** The token ruler: thinking as a length, with the answers that it gave on the way as flags, and the cut. */

import { glyph, percent } from "./answers.js";

const LANES = 3;
const GAP = 8;
const GLYPH = 12;

/** A ruler in an element. Positions are in tokens. */
export class Ruler {
  #root;
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
    this.flags = part("flags");
    this.fill = part("fill");
    this.strip = part("strip");
    this.ticks = part("ticks");
    this.track = part("track");
    this.plans = part("plans");
    this.track.append(this.fill, this.plans);
    root.append(this.flags, this.track, this.strip, this.ticks);
    new ResizeObserver(() => this.#redraw()).observe(root);
  }

  /** Begin anew: a scale up to `extent`, which is a limit or only as far as it shows, with answers planned. */
  reset({ extent, limited, planned }) {
    for (const { mark } of this.#cuts) mark.remove();
    this.#flags = [];
    this.#cuts = [];
    this.#tokens = 0;
    this.flags.replaceChildren();
    this.strip.replaceChildren();
    this.scale({ extent, limited, planned });
  }

  /** Another scale; what is on it stays. */
  scale({ extent, limited = this.#limited, planned = this.#plans }) {
    this.#extent = Math.max(1, extent);
    this.#limited = limited;
    this.#plans = planned;
    this.#redraw();
  }

  /** So many tokens have been thought. A scale without a limit grows with them. */
  reach(tokens) {
    this.#tokens = tokens;
    if (tokens > this.#extent) this.scale({ extent: this.#limited ? tokens : Math.ceil(tokens * 1.5) });
    this.#draw();
  }

  /** An answer; `final` if the thinking stopped for it. */
  answer({ at, text, confidence, look, final }) {
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
    this.flags.append(flag);
    this.strip.append(band);
    this.#flags.push({ at, flag, label, band, key: `${look.shape}${look.hollow}`, final });
    this.#flags.sort((a, b) => a.at - b.at);
    this.#redraw();
  }

  /** The thinking was cut here. */
  cut(at, words) {
    const mark = part("cut");
    const label = part("why");
    label.textContent = words;
    mark.append(label);
    this.track.append(mark);
    this.#cuts.push({ at, mark });
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
    this.fill.style.width = `${x(this.#tokens)}px`;
    const last = this.#flags.at(-1);
    if (last) last.band.style.width = `${Math.max(0, x(this.#tokens) - x(last.at))}px`;
    if (!this.#stale) return;
    this.#stale = false;
    this.#placeTicks(x, width);
    this.#placePlans(x);
    this.#placeFlags(x, width);
    this.#placeBands(x);
    for (const { at, mark } of this.#cuts) {
      mark.style.left = `${x(at)}px`;
      mark.classList.toggle("flip", x(at) > width / 2);
    }
  }

  /** From each answer to the next its colour, with its shape where there is room for it. */
  #placeBands(x) {
    let free = -Infinity;
    for (const [index, { at, band }] of this.#flags.entries()) {
      const next = this.#flags[index + 1]?.at ?? this.#tokens;
      band.style.left = `${x(at)}px`;
      band.style.width = `${Math.max(0, x(next) - x(at))}px`;
      band.classList.toggle("bare", x(at) < free);
      if (x(at) >= free) free = x(at) + GLYPH;
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
      const from = x(placed.at);
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
    this.flags.classList.toggle("high", lanes.at(-1).length > 0);
  }

  #placeTicks(x, width) {
    const step = niceStep(this.#extent, Math.max(3, Math.floor(width / 90)));
    const at = [];
    for (let tokens = 0; tokens <= this.#extent; tokens += step) at.push(tokens);
    if (this.#limited) {
      while (at.length > 1 && x(this.#extent) - x(at.at(-1)) < 48) at.pop();
      at.push(this.#extent);
    }
    this.ticks.replaceChildren(
      ...at.map((tokens) => {
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
    this.plans.replaceChildren(
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
