// What takes longer than a frame: decoding photos and masks, growing a hole map, encoding it as PNG.

import { HoleMap, TILE } from "./holes.js";
import { greyPng } from "./png.js";

/** Photos are shown from pieces of this size: canvases on a GPU take no image wider than some 8000 pixels. */
const PIECE = 2048;

/** @typedef {{x: number, y: number, bitmap: ImageBitmap}} Piece */
/** @typedef {{scale: number, width: number, height: number, pieces: Piece[]}} Level The photo at 1 / scale. */
/** @typedef {{width: number, height: number, words: Uint32Array}} Bits */

const jobs = {
  /**
   * A photo as the browser shows it, at full size, half, a quarter, ... so that no frame scales 24 megapixels.
   * @param {{blob: Blob}} input
   * @returns {Promise<{result: {width: number, height: number, levels: Level[]}, transfer: Transferable[]}>}
   */
  async decode({ blob }) {
    const { width, height, bitmap } = await decoded(blob);
    const levels = [];
    /** @type {ImageBitmap} */
    let whole = bitmap;
    for (let scale = 1; ; scale *= 2) {
      const last = Math.max(whole.width, whole.height) <= 1024;
      const half = last ? null : await halved(whole);
      levels.push({ scale, width: whole.width, height: whole.height, pieces: await pieces(whole) });
      if (!half) break;
      whole = half;
    }
    const transfer = levels.flatMap((level) => level.pieces.map((piece) => piece.bitmap));
    return { result: { width, height, levels }, transfer };
  },

  /**
   * @param {Bits & {depth: 1 | 8}} input depth 1 is small, 8 is what every program reads
   * @returns {Promise<{result: Blob, transfer: Transferable[]}>}
   */
  async encode({ width, height, words, depth }) {
    return { result: await greyPng(new HoleMap(width, height, words), depth), transfer: [] };
  },

  /**
   * Every pixel that is at most `by` from a hole pixel becomes hole.
   * @param {Bits & {by: number}} input
   * @returns {Promise<{result: Uint32Array, transfer: Transferable[]}>}
   */
  async grow({ width, height, words, by }) {
    const from = new HoleMap(width, height, words);
    const to = new HoleMap(width, height, words.slice());
    const reach = Array.from({ length: by + 1 }, (_, dy) => Math.floor(Math.sqrt(by * by - dy * dy)));
    for (let y = 0; y < height; y++) {
      for (const [x0, x1] of runs(from, y)) {
        for (let dy = -by; dy <= by; dy++) {
          if (y + dy < 0 || y + dy >= height) continue;
          const dx = reach[Math.abs(dy)];
          to.span(y + dy, x0 - dx, x1 + dx, true);
        }
      }
    }
    return { result: to.words, transfer: [to.words.buffer] };
  },

  /**
   * A mask file as bits of the photo's size: its bright half is hole, what is transparent counts as black.
   * @param {{blob: Blob, width: number, height: number}} input
   * @returns {Promise<{result: {width: number, height: number, words: Uint32Array | null}, transfer: Transferable[]}>}
   *   the mask's own size; no words where its shape is another than the photo's
   */
  async readMask({ blob, width, height }) {
    const { bitmap } = await decoded(blob);
    const size = { width: bitmap.width, height: bitmap.height };
    const shape = (bitmap.width * height) / (bitmap.height * width);
    if (shape < 0.99 || shape > 1.01) return { result: { ...size, words: null }, transfer: [] };
    const map = new HoleMap(width, height);
    const canvas = new OffscreenCanvas(width, Math.min(height, TILE));
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
      canvas.getContext("2d", { willReadFrequently: true })
    );
    context.imageSmoothingEnabled = false;
    for (let top = 0; top < height; top += TILE) {
      const rows = Math.min(TILE, height - top);
      context.fillStyle = "black";
      context.fillRect(0, 0, width, rows);
      context.drawImage(bitmap, 0, -top, width, height);
      const { data } = context.getImageData(0, 0, width, rows);
      for (let i = 0; i < width * rows; i++) {
        const luminance = data[4 * i] * 0.299 + data[4 * i + 1] * 0.587 + data[4 * i + 2] * 0.114;
        if (luminance < 127.5) continue;
        const x = i % width;
        map.words[(top + (i - x) / width) * map.stride + (x >>> 5)] |= 1 << (x & 31);
      }
    }
    bitmap.close();
    return { result: { ...size, words: map.words }, transfer: [map.words.buffer] };
  },
};

/** @typedef {typeof jobs} Jobs */

/** @param {Blob} blob */
async function decoded(blob) {
  const bitmap = await createImageBitmap(blob);
  return { width: bitmap.width, height: bitmap.height, bitmap };
}

/** @param {ImageBitmap} bitmap */
function halved(bitmap) {
  return createImageBitmap(bitmap, {
    resizeWidth: Math.max(1, Math.round(bitmap.width / 2)),
    resizeHeight: Math.max(1, Math.round(bitmap.height / 2)),
    resizeQuality: "medium",
  });
}

/** @param {ImageBitmap} bitmap */
async function pieces(bitmap) {
  const { width, height } = bitmap;
  if (width <= PIECE && height <= PIECE) return [{ x: 0, y: 0, bitmap }];
  const all = [];
  for (let y = 0; y < height; y += PIECE) {
    for (let x = 0; x < width; x += PIECE) {
      const piece = await createImageBitmap(bitmap, x, y, Math.min(PIECE, width - x), Math.min(PIECE, height - y));
      all.push({ x, y, bitmap: piece });
    }
  }
  bitmap.close();
  return all;
}

/** The runs of hole pixels in a row, as [x0, x1). @param {HoleMap} map @param {number} y */
function* runs(map, y) {
  let start = -1;
  for (let word = 0; word < map.stride; word++) {
    const bits = map.words[y * map.stride + word];
    if (bits === 0 ? start < 0 : bits === 0xffffffff && start >= 0) continue;
    for (let bit = 0; bit < 32; bit++) {
      const set = (bits >>> bit) & 1;
      if (set && start < 0) start = word * 32 + bit;
      else if (!set && start >= 0) {
        yield [start, word * 32 + bit];
        start = -1;
      }
    }
  }
  if (start >= 0) yield [start, map.width];
}

self.addEventListener("message", async (event) => {
  const { id, job, input } = event.data;
  const post = /** @type {(message: unknown, transfer?: Transferable[]) => void} */ (self.postMessage.bind(self));
  try {
    const { result, transfer } = await jobs[/** @type {keyof Jobs} */ (job)](input);
    post({ id, result }, transfer);
  } catch (error) {
    post({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
