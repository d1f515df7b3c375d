// The hole map: one bit per pixel of the photo, at its full size (24 megapixels are 3 MB).
//
// Changes are recorded in tiles of 256 x 256. What a stroke changed is the exclusive-or of the tiles before and after
// it: 8 KB per tile, and the same bits undo it and do it again.

import { outline } from "./shapes.js";

export const TILE = 256;
const TILE_STRIDE = TILE / 32;

/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Box Pixels x0 <= x < x1, y0 <= y < y1. */
/** @typedef {Map<number, Uint32Array>} Changes Bits that flip, by number of the tile. */
/** @typedef {import("./shapes.js").Rows} Rows */

export class HoleMap {
  /**
   * @param {number} width
   * @param {number} height
   * @param {Uint32Array} [words]
   */
  constructor(width, height, words) {
    this.width = width;
    this.height = height;
    this.columns = Math.ceil(width / TILE);
    /** Words of 32 pixels per row; pixel x is bit x % 32 of word floor(x / 32). */
    this.stride = this.columns * TILE_STRIDE;
    this.words = words ?? new Uint32Array(this.stride * height);
    /** Hole pixels at the last commit. */
    this.count = 0;
    /** @type {Map<number, Uint32Array> | null} */
    this.before = null;
  }

  /** Start recording; changes are allowed until commit or rollback. */
  begin() {
    this.before = new Map();
  }

  get recording() {
    return this.before !== null;
  }

  /** @returns {Changes} what changed since begin */
  commit() {
    /** @type {Changes} */
    const changes = new Map();
    for (const [number, old] of this.before ?? []) {
      const now = this.tile(number);
      let changed = 0;
      for (let i = 0; i < now.length; i++) {
        const flipped = now[i] ^ old[i];
        if (flipped) {
          changed |= flipped;
          this.count += ones(now[i]) - ones(old[i]);
        }
        old[i] = flipped;
      }
      if (changed) changes.set(number, old);
    }
    this.before = null;
    return changes;
  }

  /** Forget what changed since begin. @returns {Box | null} where */
  rollback() {
    let box = null;
    for (const [number, old] of this.before ?? []) {
      this.setTile(number, old);
      box = union(box, this.tileBox(number));
    }
    this.before = null;
    return box;
  }

  /** @param {Changes} changes @returns {Box | null} where */
  flip(changes) {
    let box = null;
    for (const [number, bits] of changes) {
      const now = this.tile(number);
      for (let i = 0; i < now.length; i++) {
        if (!bits[i]) continue;
        const old = now[i];
        now[i] = old ^ bits[i];
        this.count += ones(now[i]) - ones(old);
      }
      this.setTile(number, now);
      box = union(box, this.tileBox(number));
    }
    return box;
  }

  /**
   * Mark rows of pixels as hole (or as known), recording them.
   * @param {Rows | null} rows
   * @param {boolean} hole
   * @returns {Box | null} the pixels that may have changed
   */
  paint(rows, hole) {
    if (!rows) return null;
    const box = this.clipped(rows.box);
    if (!box) return null;
    this.remember(box);
    rows.each(Math.max(0, rows.box.y0), Math.min(this.height, rows.box.y1), (y, x0, x1) => this.span(y, x0, x1, hole));
    return box;
  }

  /** @returns {Box | null} */
  clear() {
    if (!this.count) return null;
    return this.paint(outline.rectangle(0, 0, this.width, this.height), false);
  }

  /** Take the bits of another map of this size. @param {Uint32Array} words */
  take(words) {
    const box = { x0: 0, y0: 0, x1: this.width, y1: this.height };
    this.remember(box);
    this.words.set(words);
    return box;
  }

  /**
   * @param {number} y
   * @param {number} x0
   * @param {number} x1
   * @param {boolean} hole
   */
  span(y, x0, x1, hole) {
    if (x0 < 0) x0 = 0;
    if (x1 > this.width) x1 = this.width;
    if (x0 >= x1) return;
    const row = y * this.stride;
    const first = row + (x0 >>> 5);
    const last = row + ((x1 - 1) >>> 5);
    const head = -1 << (x0 & 31);
    const tail = -1 >>> (31 - ((x1 - 1) & 31));
    if (first === last) {
      this.setBits(first, head & tail, hole);
      return;
    }
    this.setBits(first, head, hole);
    this.words.fill(hole ? 0xffffffff : 0, first + 1, last);
    this.setBits(last, tail, hole);
  }

  /** @param {number} x @param {number} y */
  at(x, y) {
    return ((this.words[y * this.stride + (x >>> 5)] >>> (x & 31)) & 1) === 1;
  }

  /** @param {number} number */
  tile(number) {
    const { x, y, rows } = this.place(number);
    const bits = new Uint32Array(TILE * TILE_STRIDE);
    for (let row = 0; row < rows; row++) {
      const from = (y + row) * this.stride + x;
      for (let i = 0; i < TILE_STRIDE; i++) bits[row * TILE_STRIDE + i] = this.words[from + i];
    }
    return bits;
  }

  /** @param {number} number @param {Uint32Array} bits */
  setTile(number, bits) {
    const { x, y, rows } = this.place(number);
    for (let row = 0; row < rows; row++) {
      const to = (y + row) * this.stride + x;
      for (let i = 0; i < TILE_STRIDE; i++) this.words[to + i] = bits[row * TILE_STRIDE + i];
    }
  }

  /** Count anew, after tiles were set. */
  recount() {
    this.count = 0;
    for (const word of this.words) if (word) this.count += ones(word);
  }

  /** @param {number} word @param {number} bits @param {boolean} hole */
  setBits(word, bits, hole) {
    if (hole) this.words[word] |= bits;
    else this.words[word] &= ~bits;
  }

  /** Keep the tiles of a box as they are now, unless they are kept. @param {Box} box */
  remember(box) {
    if (!this.before) throw new Error("paint comes between begin and commit");
    for (let ty = Math.floor(box.y0 / TILE); ty * TILE < box.y1; ty++) {
      for (let tx = Math.floor(box.x0 / TILE); tx * TILE < box.x1; tx++) {
        const number = ty * this.columns + tx;
        if (!this.before.has(number)) this.before.set(number, this.tile(number));
      }
    }
  }

  /** @param {number} number */
  place(number) {
    const y = Math.floor(number / this.columns) * TILE;
    return { x: (number % this.columns) * TILE_STRIDE, y, rows: Math.min(TILE, this.height - y) };
  }

  /** @param {number} number @returns {Box} */
  tileBox(number) {
    const x0 = (number % this.columns) * TILE;
    const y0 = Math.floor(number / this.columns) * TILE;
    return { x0, y0, x1: Math.min(x0 + TILE, this.width), y1: Math.min(y0 + TILE, this.height) };
  }

  /** @param {Box} box @returns {Box | null} */
  clipped(box) {
    const x0 = Math.max(0, box.x0);
    const y0 = Math.max(0, box.y0);
    const x1 = Math.min(this.width, box.x1);
    const y1 = Math.min(this.height, box.y1);
    return x0 < x1 && y0 < y1 ? { x0, y0, x1, y1 } : null;
  }
}

/** @param {Box | null} a @param {Box | null} b @returns {Box | null} */
export function union(a, b) {
  if (!a || !b) return a ?? b;
  return {
    x0: Math.min(a.x0, b.x0),
    y0: Math.min(a.y0, b.y0),
    x1: Math.max(a.x1, b.x1),
    y1: Math.max(a.y1, b.y1),
  };
}

/** How many bits of a word are set. @param {number} word */
function ones(word) {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return (((word + (word >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}
