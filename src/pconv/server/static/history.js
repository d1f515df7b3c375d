// Steps that can be undone and done again. A step flips bits of the hole map, and a fill replaces the photo.

/** @typedef {import("./holes.js").Changes} Changes */

/**
 * @typedef {object} Step
 * @property {string} what it was, for people: "brush stroke", "fill"
 * @property {Changes} changes bits of the hole map that it flipped
 * @property {number} from the photo's version before it
 * @property {number} to the photo's version after it
 * @property {Fill} [fill] of a fill: all that is needed to repeat it
 */

/**
 * @typedef {object} Fill
 * @property {number} from the photo's version that was filled
 * @property {Changes} hole the bits of the hole map that were marked
 * @property {number} seed
 * @property {number} feather in pixels
 */

const MOST_STEPS = 500;
const MOST_BYTES = 64e6;

export class History {
  constructor() {
    /** @type {Step[]} */
    this.steps = [];
    /** How many of the steps are done; the rest were undone. */
    this.position = 0;
    /** The number of steps[0], counted from the photo's opening. */
    this.first = 0;
  }

  get canUndo() {
    return this.position > 0;
  }

  get canRedo() {
    return this.position < this.steps.length;
  }

  /**
   * Add a step that was just done; what was undone before is forgotten, and so are the oldest steps if there are too
   * many.
   * @param {Step} step
   * @returns {{number: number, forgotten: number[]}} numbers of the step and of what was forgotten
   */
  push(step) {
    const number = this.first + this.position;
    const forgotten = this.steps.splice(this.position).map((_, i) => number + i);
    this.steps.push(step);
    this.position++;
    while (this.steps.length > 1 && (this.steps.length > MOST_STEPS || this.bytes > MOST_BYTES)) {
      this.steps.shift();
      forgotten.push(this.first++);
      this.position--;
    }
    return { number, forgotten: forgotten.filter((old) => old !== number) };
  }

  /** @returns {Step | null} the step to take back */
  undo() {
    return this.canUndo ? this.steps[--this.position] : null;
  }

  /** @returns {Step | null} the step to do again */
  redo() {
    return this.canRedo ? this.steps[this.position++] : null;
  }

  /**
   * The photo's last fill. Its seed is the last one that this hole was filled with, even if that step is undone.
   * @returns {Fill | null} null: no fill is done
   */
  get lastFill() {
    const last = this.steps.slice(0, this.position).findLast(({ fill }) => fill)?.fill;
    if (!last) return null;
    const newest = this.steps.findLast(({ fill }) => fill?.from === last.from)?.fill ?? last;
    return { ...last, seed: newest.seed };
  }

  /** The versions of the photo that a step leads to or from, or needs. */
  get versions() {
    return new Set(this.steps.flatMap(({ from, to, fill }) => [from, to, fill?.from ?? from]));
  }

  get bytes() {
    const all = new Set(this.steps.flatMap(({ changes, fill }) => [...changes.values(), ...(fill?.hole.values() ?? [])]));
    let sum = 0;
    for (const bits of all) sum += bits.byteLength; // all fills of a hole share its bits
    return sum;
  }
}
