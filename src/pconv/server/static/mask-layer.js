// The hole map on the screen, sampled at the screen's pixels, and while painting only where it changed.

/** @typedef {import("./holes.js").Box} Box */
/** @typedef {import("./holes.js").HoleMap} HoleMap */

export class MaskLayer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.pixels = this.context.createImageData(1, 1);
    this.colours = palette();
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.pixels = this.context.createImageData(Math.max(1, width), Math.max(1, height));
  }

  /**
   * @param {HoleMap | null} map
   * @param {Box | null} box pixels of the photo; null: all
   * @param {{zoom: number, left: number, top: number}} place of the photo, in pixels of the canvas
   * @param {boolean} smooth four samples per pixel of the screen, where the photo is shown reduced
   */
  draw(map, box, { zoom, left, top }, smooth) {
    const { canvas, context } = this;
    if (!map || (!map.count && !map.recording)) {
      context.clearRect(0, 0, canvas.width, canvas.height);
      return;
    }
    const x0 = box ? Math.max(0, Math.floor(left + box.x0 * zoom) - 1) : 0;
    const y0 = box ? Math.max(0, Math.floor(top + box.y0 * zoom) - 1) : 0;
    const x1 = box ? Math.min(canvas.width, Math.ceil(left + box.x1 * zoom) + 1) : canvas.width;
    const y1 = box ? Math.min(canvas.height, Math.ceil(top + box.y1 * zoom) + 1) : canvas.height;
    if (x0 >= x1 || y0 >= y1) return;
    const samples = smooth && zoom < 1 ? 2 : 1;
    const columns = sampled(x0, x1, samples, left, zoom, map.width);
    const rows = sampled(y0, y1, samples, top, zoom, map.height);
    const out = new Uint32Array(this.pixels.data.buffer);
    const stripes = Math.round(left) + Math.round(top);
    const weight = 4 / samples ** 2; // of one sample, in quarters
    const covered = new Uint8Array(x1 - x0);
    for (let y = y0; y < y1; y++) {
      covered.fill(0);
      for (let j = 0; j < samples; j++) cover(covered, map, rows[(y - y0) * samples + j], columns, samples);
      const to = y * canvas.width + x0;
      for (let i = 0; i < covered.length; i++) {
        out[to + i] = covered[i] ? this.colours[covered[i] * weight + ((x0 + i + y - stripes) & 8 ? 5 : 0)] : 0;
      }
    }
    context.putImageData(this.pixels, 0, 0, x0, y0, x1 - x0, y1 - y0);
  }
}

/**
 * Count the hole pixels among the samples of a row of the screen. The page's busiest loop.
 * @param {Uint8Array} covered
 * @param {HoleMap} map
 * @param {number} row of the photo, or -1
 * @param {Int32Array} columns of the photo, `samples` for each pixel of the screen
 * @param {number} samples
 */
function cover(covered, map, row, columns, samples) {
  if (row < 0) return;
  const { words } = map;
  const start = row * map.stride;
  if (samples === 1) {
    for (let i = 0; i < covered.length; i++) {
      const column = columns[i];
      if (column >= 0) covered[i] += (words[start + (column >>> 5)] >>> (column & 31)) & 1;
    }
    return;
  }
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i];
    if (column >= 0) covered[i >> 1] += (words[start + (column >>> 5)] >>> (column & 31)) & 1;
  }
}

/**
 * The photo's columns (or rows) under the screen's, -1 outside it.
 * @param {number} from
 * @param {number} to
 * @param {number} samples per pixel of the screen
 * @param {number} offset
 * @param {number} zoom
 * @param {number} length
 */
function sampled(from, to, samples, offset, zoom, length) {
  return Int32Array.from({ length: (to - from) * samples }, (_, i) => {
    const at = Math.floor((from + (i + 0.5) / samples - offset) / zoom);
    return at < length ? Math.max(-1, at) : -1;
  });
}

/** Two stripes of the mask's colour, each in five steps of opacity: stripes show on a photo of any colour. */
function palette() {
  const colours = [
    [255, 45, 110],
    [225, 15, 85],
  ];
  return Uint32Array.from(
    colours.flatMap(([red, green, blue]) =>
      [0, 1, 2, 3, 4].map((quarters) => ((quarters * 63.75) << 24) | (blue << 16) | (green << 8) | red),
    ),
  );
}
