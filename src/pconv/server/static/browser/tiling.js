// How a photo of any size is filled with bounded memory: the same regions, tiles and smaller images as in Python
// (pconv.inpainting.regions, tiles and scales; pconv.masks.morphology). Pure functions; nothing here needs a browser.

/** @typedef {{top: number, bottom: number, left: number, right: number}} Box Ends are excluded. */
/** @typedef {{box: Box, wanted: Mask}} Region A box to compute, and which of its pixels are its own. */

/**
 * @typedef {object} WindowedImage
 * @property {(box: Box) => Float32Array} read one window, (3, h, w), values in 0..1
 * @property {(box: Box, colours: Float32Array, opacity: Float32Array) => void} write blend colours into one window by
 *   an opacity (h, w) in 0..1; where it is 0, pixels stay as they are
 */

/**
 * @typedef {object} Runner
 * @property {number} multiple a power of two: boxes begin at multiples of it
 * @property {boolean} estimates whether the network has a surface that can start from an estimate
 * @property {number} memory bytes for the network and the images made for it
 * @property {(known: Float32Array, hole: Mask, origin: [number, number], estimate: Mask | null) =>
 *            Promise<Float32Array>} run fill (3, h, w) colours; origin: their row and column in the whole photo
 * @property {(share: number) => void} [onProgress] how much of the fill is done, 0..1
 */

const CONTEXT = 64;
const OVERLAP = 2 * CONTEXT;
const CELL = 32;
const WORTH_MERGING = 1.2;
const WORTH_WHOLE = 1.25;
const LARGE = 1024 * 1024;
const TILE_SIDES = [256, 512, 768];
const WIDE = 100;
const NARROW = 32;
const DEEP = 32;
const MEAN_CELL = 2;
const STRIP = 256;
const REACH = 4 * MEAN_CELL;
const BYTES_PER_PIXEL = 700;
const NOISE_GRID = 16;
const FEATHER_STEPS = 32;
const CHANNELS = 3;

/** Bytes for the network's part of the work: half of what Python takes, so that a tab stays below 1 GB. */
export const MEMORY = 2 ** 29;

/** A mask (H, W): one byte per pixel, 1 or 0. */
export class Mask {
  /**
   * @param {number} height
   * @param {number} width
   * @param {Uint8Array} [data]
   */
  constructor(height, width, data) {
    this.height = height;
    this.width = width;
    this.data = data ?? new Uint8Array(height * width);
  }

  get any() {
    return this.data.includes(1);
  }

  /** @param {Box} box */
  anyIn({ top, bottom, left, right }) {
    for (let y = top; y < bottom; y++) {
      if (this.data.subarray(y * this.width + left, y * this.width + right).includes(1)) return true;
    }
    return false;
  }

  /** A copy of one window. @param {Box} box */
  crop({ top, bottom, left, right }) {
    const part = new Mask(bottom - top, right - left);
    for (let y = top; y < bottom; y++) {
      part.data.set(this.data.subarray(y * this.width + left, y * this.width + right), (y - top) * part.width);
    }
    return part;
  }

  /** @returns {Mask} 1 where this is 0 */
  not() {
    return new Mask(this.height, this.width, this.data.map((value) => 1 - value));
  }

  /** @param {Mask} other @returns {Mask} 1 where both are */
  and(other) {
    return new Mask(this.height, this.width, this.data.map((value, i) => value & other.data[i]));
  }
}

/** @param {Box} box */
const area = ({ top, bottom, left, right }) => (bottom - top) * (right - left);

/** @param {Box} box @param {number} down @param {number} right @returns {Box} */
function moved(box, down, right) {
  return { top: box.top + down, bottom: box.bottom + down, left: box.left + right, right: box.right + right };
}

/**
 * The mask with every pixel added that is at most `radius` away from it.
 * @param {Mask} mask
 * @param {number} radius whole pixels
 * @param {boolean} [square] the distance is the larger of the horizontal and the vertical one, not the Euclidean one
 */
export function dilate(mask, radius, square = false) {
  const { height, width, data } = mask;
  const far = radius + 1;
  // Rows to the nearest pixel of the mask in the same column, no more than `far`.
  const rows = new Uint16Array(height * width);
  for (let i = 0; i < rows.length; i++) rows[i] = data[i] ? 0 : i < width ? far : Math.min(far, rows[i - width] + 1);
  for (let i = rows.length - width - 1; i >= 0; i--) if (rows[i + width] < rows[i]) rows[i] = rows[i + width] + 1;
  const reach = Int32Array.from({ length: far }, (_, dy) => (square ? radius : Math.floor(Math.sqrt(radius * radius - dy * dy))));
  const result = new Mask(height, width);
  const edges = new Int32Array(width + 1); // +1 where a covered run begins, -1 behind its end
  for (let y = 0; y < height; y++) {
    const start = y * width;
    edges.fill(0);
    for (let x = 0; x < width; x++) {
      const away = rows[start + x];
      if (away > radius) continue;
      edges[Math.max(0, x - reach[away])]++;
      edges[Math.min(width, x + reach[away] + 1)]--;
    }
    for (let x = 0, open = 0; x < width; x++) {
      open += edges[x];
      if (open) result.data[start + x] = 1;
    }
  }
  return result;
}

// Regions: boxes around groups of holes.

/**
 * Boxes that hold all wanted pixels with their context; each pixel is one region's own.
 * @param {Mask} wanted
 * @param {number} multiple
 * @returns {Region[]}
 */
export function regions(wanted, multiple) {
  const { height, width } = wanted;
  const { labels, boxes } = groups(dilate(cells(wanted), CONTEXT / CELL, true));
  const columns = Math.ceil(width / CELL);
  return merged(boxes.map((box) => aligned(box, multiple, height, width))).map(({ box, members }) => {
    const own = wanted.crop(box);
    if (boxes.length > 1) {
      const isMember = new Uint8Array(boxes.length + 1);
      for (const number of members) isMember[number] = 1;
      for (let i = 0; i < own.data.length; i++) {
        if (!own.data[i]) continue;
        const row = Math.floor((box.top + Math.floor(i / own.width)) / CELL);
        const column = Math.floor((box.left + (i % own.width)) / CELL);
        own.data[i] = isMember[labels[row * columns + column]];
      }
    }
    return { box, wanted: own };
  });
}

/** Which cells of the grid have a wanted pixel. @param {Mask} wanted */
function cells(wanted) {
  const result = new Mask(Math.ceil(wanted.height / CELL), Math.ceil(wanted.width / CELL));
  for (let y = 0; y < wanted.height; y++) {
    for (let column = 0; column < result.width; column++) {
      const from = y * wanted.width + column * CELL;
      const to = y * wanted.width + Math.min((column + 1) * CELL, wanted.width);
      const at = Math.floor(y / CELL) * result.width + column;
      if (!result.data[at] && wanted.data.subarray(from, to).includes(1)) result.data[at] = 1;
    }
  }
  return result;
}

/** Number the connected groups of cells from 1, and give each one's box, in pixels. @param {Mask} mask */
function groups({ height, width, data }) {
  const labels = new Int32Array(height * width);
  /** @type {Box[]} */
  const boxes = [];
  for (let start = 0; start < data.length; start++) {
    if (!data[start] || labels[start]) continue;
    const number = boxes.length + 1;
    const box = { top: height, bottom: 0, left: width, right: 0 };
    const open = [start];
    labels[start] = number;
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      const row = Math.floor(place / width);
      const column = place % width;
      box.top = Math.min(box.top, row);
      box.bottom = Math.max(box.bottom, row + 1);
      box.left = Math.min(box.left, column);
      box.right = Math.max(box.right, column + 1);
      for (let y = Math.max(row - 1, 0); y < Math.min(row + 2, height); y++) {
        for (let x = Math.max(column - 1, 0); x < Math.min(column + 2, width); x++) {
          if (!data[y * width + x] || labels[y * width + x]) continue;
          labels[y * width + x] = number;
          open.push(y * width + x);
        }
      }
    }
    boxes.push({ top: box.top * CELL, bottom: box.bottom * CELL, left: box.left * CELL, right: box.right * CELL });
  }
  return { labels, boxes };
}

/** @param {Box} box @param {number} multiple @param {number} height @param {number} width @returns {Box} */
function aligned({ top, bottom, left, right }, multiple, height, width) {
  return {
    top: Math.floor(top / multiple) * multiple,
    bottom: Math.min(Math.ceil(bottom / multiple) * multiple, height),
    left: Math.floor(left / multiple) * multiple,
    right: Math.min(Math.ceil(right / multiple) * multiple, width),
  };
}

/** Boxes with the numbers of their groups; near ones become one where that costs little more. @param {Box[]} boxes */
function merged(boxes) {
  /** @type {{box: Box, members: number[], alone: number}[]} */
  const done = [];
  boxes.forEach((first, i) => {
    let now = { box: first, members: [i + 1], alone: area(first) };
    for (let other; (other = done.find((each) => worth(now, each))); ) {
      done.splice(done.indexOf(other), 1);
      const members = [...other.members, ...now.members];
      now = { box: union(now.box, other.box), members, alone: now.alone + other.alone };
    }
    done.push(now);
  });
  return done;
}

/** @param {{box: Box, alone: number}} one @param {{box: Box, alone: number}} other */
const worth = (one, other) => area(union(one.box, other.box)) <= WORTH_MERGING * (one.alone + other.alone);

/** @param {Box} one @param {Box} other @returns {Box} */
function union(one, other) {
  return {
    top: Math.min(one.top, other.top),
    bottom: Math.max(one.bottom, other.bottom),
    left: Math.min(one.left, other.left),
    right: Math.max(one.right, other.right),
  };
}

// Tiles.

/**
 * The side of the tiles in which `wanted` is computed best, if `most` pixels fit at once.
 * @param {Mask} wanted
 * @param {number} most
 */
export function tileSide(wanted, most) {
  const { height, width } = wanted;
  const longest = Math.max(height, width);
  if (height * width <= Math.min(most, LARGE)) return longest;
  const able = TILE_SIDES.filter((side) => side * side <= most && side < longest);
  if (!able.length) able.push(TILE_SIDES[0]);
  const costs = able.map((side) => tiles(wanted, side).reduce((sum, box) => sum + area(box), 0));
  const cheapest = Math.min(...costs);
  return Math.max(...able.filter((_, i) => costs[i] <= WORTH_WHOLE * cheapest));
}

/** Overlapping tiles in which something is wanted, row by row. @param {Mask} wanted @param {number} side @returns {Box[]} */
export function tiles(wanted, side) {
  const columns = spans(wanted.width, side);
  return spans(wanted.height, side)
    .flatMap(([top, bottom]) => columns.map(([left, right]) => ({ top, bottom, left, right })))
    .filter((box) => wanted.anyIn(box));
}

/** Beginnings and ends of the tiles along one direction. @param {number} length @param {number} side @returns {[number, number][]} */
export function spans(length, side) {
  if (length <= side) return [[0, length]];
  const step = side - OVERLAP;
  const count = Math.ceil((length - side) / step);
  return Array.from({ length: count + 1 }, (_, i) => [i * step, i < count ? i * step + side : length]);
}

/** How many pixels the network may see at once beside what is kept of `box`. @param {number} memory @param {Box} box */
export function mostPixels(memory, box) {
  const kept = 3 * 4 * Math.min(area(box), 2 * 1024 * (box.right - box.left)) + 4 * area(box);
  return (memory - kept) / BYTES_PER_PIXEL;
}

/**
 * Fill `image` in place where `hole` is 1.
 * @param {Runner} runner
 * @param {WindowedImage} image
 * @param {Mask} hole
 * @param {{wanted?: Mask, feather?: number, corner?: [number, number]}} [options] wanted: which pixels of the hole to
 *   write; feather: pixels inside the hole's edge over which the fill is blended with what was there; corner: row and
 *   column of the image in the whole one, if it is a part of one
 */
export async function fillHoles(runner, image, hole, { wanted = hole, feather = 0, corner = [0, 0] } = {}) {
  const plan = regions(wanted, runner.multiple).map((region) => {
    const side = tileSide(region.wanted, mostPixels(runner.memory, region.box));
    return { region, side, count: tiles(region.wanted, side).length };
  });
  const total = plan.reduce((sum, { count }) => sum + count, 0);
  let done = 0;
  for (const { region, side } of plan) {
    await fillRegion(runner, image, hole.crop(region.box), region, side, feather, corner, () => {
      runner.onProgress?.(++done / total);
    });
  }
}

/**
 * @param {Runner} runner
 * @param {WindowedImage} image
 * @param {Mask} hole of the region
 * @param {Region} region
 * @param {number} side of its tiles
 * @param {number} feather
 * @param {[number, number]} corner
 * @param {() => void} onTile
 */
async function fillRegion(runner, image, hole, { box, wanted }, side, feather, corner, onTile) {
  const place = moved(box, ...corner);
  const inside = await insideOf(runner, image, hole, box, place);
  const steps = Math.min(feather, FEATHER_STEPS);
  const softened = feather ? depthSteps(hole, feather, steps) : null;

  /** @param {Box} tile @returns {Promise<Float32Array>} */
  async function fillTile(tile) {
    const unknown = hole.crop(tile);
    const known = image.read(moved(tile, box.top, box.left));
    const count = unknown.data.length;
    for (let i = 0; i < count; i++) if (unknown.data[i]) for (let c = 0; c < CHANNELS; c++) known[c * count + i] = 0;
    /** @type {[number, number]} */
    const origin = [place.top + tile.top, place.left + tile.left];
    const deep = inside?.deep.crop(tile);
    let filled;
    if (!inside || !deep?.any) filled = await run(runner, known, unknown, origin, null);
    else {
      const start = surfaceStart(inside.cells, inside.scale, tile);
      for (let i = 0; i < count; i++) {
        if (deep.data[i]) for (let c = 0; c < CHANNELS; c++) known[c * count + i] = start[c * count + i];
      }
      filled = await run(runner, known, unknown, origin, deep);
    }
    onTile();
    return filled;
  }

  const { width } = wanted;
  await byTiles(fillTile, wanted, side, (top, bottom, colours) => {
    const opacity = Float32Array.from(wanted.data.subarray(top * width, bottom * width));
    if (softened) for (let i = 0; i < opacity.length; i++) opacity[i] *= (1 + softened[top * width + i]) / (1 + steps);
    image.write(moved({ top, bottom, left: 0, right: width }, box.top, box.left), colours, opacity);
  });
}

/**
 * @param {Runner} runner
 * @param {Float32Array} known
 * @param {Mask} unknown
 * @param {[number, number]} origin
 * @param {Mask | null} estimated
 */
async function run(runner, known, unknown, origin, estimated) {
  if (!unknown.any) return known;
  const start = runner.estimates ? estimated : null;
  return runner.run(known, estimated && !start ? unknown.and(estimated.not()) : unknown, origin, start);
}

/**
 * The region row by row of tiles, blended over their overlaps; each row of pixels comes once.
 * @param {(tile: Box) => Promise<Float32Array>} fillTile
 * @param {Mask} wanted
 * @param {number} side
 * @param {(top: number, bottom: number, colours: Float32Array) => void} write
 */
async function byTiles(fillTile, wanted, side, write) {
  const { height, width } = wanted;
  const rows = spans(height, side);
  let overlap = new Float32Array(0);
  let overlapRows = 0;
  for (const [number, [top, bottom]] of rows.entries()) {
    const tall = bottom - top;
    const strip = new Float32Array(CHANNELS * tall * width);
    let done = 0;
    for (const [left, right] of spans(width, side)) {
      const tile = { top, bottom, left, right };
      if (wanted.anyIn(tile)) place(strip, await fillTile(tile), tall, width, left, right, done);
      done = right;
    }
    for (let c = 0; c < CHANNELS; c++) {
      for (let y = 0; y < overlapRows; y++) {
        const share = Math.fround((y + 0.5) / overlapRows);
        for (let x = 0; x < width; x++) {
          const at = (c * tall + y) * width + x;
          const before = overlap[(c * overlapRows + y) * width + x];
          strip[at] = before + Math.fround(strip[at] - before) * share;
        }
      }
    }
    const end = number + 1 < rows.length ? rows[number + 1][0] : bottom;
    const cut = (/** @type {number} */ from, /** @type {number} */ to) => {
      const part = new Float32Array(CHANNELS * (to - from) * width);
      for (let c = 0; c < CHANNELS; c++) {
        part.set(strip.subarray((c * tall + from) * width, (c * tall + to) * width), c * (to - from) * width);
      }
      return part;
    };
    write(top, end, cut(0, end - top));
    overlap = cut(end - top, tall);
    overlapRows = bottom - end;
  }
}

/**
 * Put a tile into its strip, blended with what is there up to column `done`.
 * @param {Float32Array} strip
 * @param {Float32Array} colours
 * @param {number} tall
 * @param {number} width
 * @param {number} left
 * @param {number} right
 * @param {number} done
 */
function place(strip, colours, tall, width, left, right, done) {
  const wide = right - left;
  const blended = Math.max(0, done - left);
  for (let row = 0; row < CHANNELS * tall; row++) {
    for (let x = 0; x < wide; x++) {
      const at = row * width + left + x;
      const colour = colours[row * wide + x];
      if (x >= blended) strip[at] = colour;
      else strip[at] += Math.fround(colour - strip[at]) * Math.fround((x + 0.5) / blended);
    }
  }
}

// Wide holes: their inside starts from a fill of a smaller image.

/** @typedef {{data: Float32Array, height: number, width: number}} Planes (3, height, width) */
/** @typedef {{cells: Planes, scale: number, deep: Mask}} Inside */

/**
 * @param {Runner} runner
 * @param {WindowedImage} image
 * @param {Mask} hole
 * @param {Box} box
 * @param {Box} place
 * @returns {Promise<Inside | null>} null where no hole is wide
 */
async function insideOf(runner, image, hole, box, place) {
  const deep = deepInside(hole);
  if (!deep) return null;
  const smaller = smallerByStrips((top, bottom) => {
    return image.read({ top: box.top + top, bottom: box.top + bottom, left: box.left, right: box.right });
  }, hole);
  const grid = smaller.scale * NOISE_GRID;
  /** @type {[number, number]} */
  const corner = [Math.floor(place.top / grid) * NOISE_GRID, Math.floor(place.left / grid) * NOISE_GRID];
  const wanted = neededOfSmaller(deep, smaller);
  await fillHoles({ ...runner, onProgress: undefined }, halfImage(smaller.image), smaller.hole, { wanted, corner });
  return { cells: cellMeans(smaller.image), scale: smaller.scale, deep };
}

/** Planes of half-precision numbers, read and written window by window. @param {Planes} planes @returns {WindowedImage} */
function halfImage({ data, height, width }) {
  return {
    read({ top, bottom, left, right }) {
      const [h, w] = [bottom - top, right - left];
      const window = new Float32Array(CHANNELS * h * w);
      for (let c = 0; c < CHANNELS; c++) {
        for (let y = 0; y < h; y++) {
          const from = (c * height + top + y) * width;
          window.set(data.subarray(from + left, from + right), (c * h + y) * w);
        }
      }
      return window;
    },
    write({ top, bottom, left, right }, colours, opacity) {
      const [h, w] = [bottom - top, right - left];
      for (let i = 0; i < h * w; i++) {
        if (!opacity[i]) continue;
        const at = (top + Math.floor(i / w)) * width + left + (i % w);
        for (let c = 0; c < CHANNELS; c++) data[c * height * width + at] = half(colours[c * h * w + i]);
      }
    },
  };
}

/** The pixels of wide holes that start from a fill of a smaller image; null where no hole is wide. @param {Mask} hole */
export function deepInside(hole) {
  const core = deeper(hole, WIDE);
  return core && dilate(core, WIDE - DEEP).and(dilate(hole.not(), DEEP).not());
}

/** The pixels of the hole that are deeper than `depth`; null where none is. @param {Mask} hole @param {number} depth */
function deeper(hole, depth) {
  if (!holdsASquare(hole, depth / 2)) return null;
  const core = hole.and(dilate(hole.not(), depth).not());
  return core.any ? core : null;
}

/** Whether an aligned square of `side` lies in the hole. @param {Mask} hole @param {number} side */
function holdsASquare({ height, width, data }, side) {
  const columns = Math.floor(width / side);
  for (let top = 0; top + side <= height; top += side) {
    const whole = new Uint8Array(columns).fill(1);
    for (let y = top; y < top + side; y++) {
      for (let i = 0; i < columns; i++) {
        const from = y * width + i * side;
        if (whole[i] && data.subarray(from, from + side).includes(0)) whole[i] = 0;
      }
    }
    if (whole.includes(1)) return true;
  }
  return false;
}

/**
 * How many of `steps` depths, evenly spaced up to `deepest`, a pixel lies beyond.
 * @param {Mask} hole
 * @param {number} deepest
 * @param {number} steps
 */
export function depthSteps(hole, deepest, steps) {
  const passed = new Uint8Array(hole.data.length);
  const known = hole.not();
  for (let step = 1; step <= steps; step++) {
    const covered = dilate(known, roundToEven((deepest / steps) * step));
    let some = false;
    for (let i = 0; i < passed.length; i++) {
      if (!hole.data[i] || covered.data[i]) continue;
      passed[i]++;
      some = true;
    }
    if (!some) break;
  }
  return passed;
}

/** Python's round. @param {number} value */
function roundToEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/** The nearest half-precision number of one in 0..1; Math.f16round is not in every browser. @param {number} value */
export function half(value) {
  if (value < 2 ** -14) return roundToEven(value * 2 ** 24) / 2 ** 24;
  SINGLE[0] = value;
  BITS[0] = (BITS[0] + 0xfff + ((BITS[0] >>> 13) & 1)) & ~0x1fff;
  return SINGLE[0];
}
const SINGLE = new Float32Array(1);
const BITS = new Uint32Array(SINGLE.buffer);

/**
 * An image halved until none of its holes is wide, at least once.
 * @param {(top: number, bottom: number) => Float32Array} read gives rows of the image
 * @param {Mask} hole
 * @returns {{image: Planes, hole: Mask, scale: number}}
 */
export function smallerByStrips(read, hole) {
  let [height, width] = [Math.ceil(hole.height / 2), Math.ceil(hole.width / 2)];
  let image = { data: new Float32Array(CHANNELS * height * width), height, width };
  let unknown = new Mask(height, width);
  for (let top = 0; top < hole.height; top += STRIP) {
    const bottom = Math.min(top + STRIP, hole.height);
    const rows = hole.crop({ top, bottom, left: 0, right: hole.width });
    halve({ data: read(top, bottom), height: bottom - top, width: hole.width }, rows, image, unknown, top / 2);
  }
  let scale = 2;
  while (deeper(unknown, NARROW)) {
    [height, width] = [Math.ceil(height / 2), Math.ceil(width / 2)];
    const next = { data: new Float32Array(CHANNELS * height * width), height, width };
    const nextUnknown = new Mask(height, width);
    halve(image, unknown, next, nextUnknown, 0);
    [image, unknown, scale] = [next, nextUnknown, 2 * scale];
  }
  return { image, hole: unknown, scale };
}

/**
 * Half the size, rounded up: each pixel is the mean of the known ones among its four, hole where none is.
 * @param {Planes} from
 * @param {Mask} hole
 * @param {Planes} to
 * @param {Mask} unknown of `to`
 * @param {number} top the first row of `to`
 */
function halve({ data, height, width }, hole, to, unknown, top) {
  for (let y = 0; y < Math.ceil(height / 2); y++) {
    for (let x = 0; x < to.width; x++) {
      const four = [];
      for (const v of [2 * y, 2 * y + 1]) {
        for (const u of [2 * x, 2 * x + 1]) if (v < height && u < width && !hole.data[v * width + u]) four.push(v * width + u);
      }
      const at = (top + y) * to.width + x;
      unknown.data[at] = four.length ? 0 : 1;
      for (let c = 0; c < CHANNELS; c++) {
        let sum = 0;
        for (const place of four) sum = Math.fround(sum + data[c * height * width + place]);
        to.data[c * to.height * to.width + at] = half(Math.fround(sum / Math.max(1, four.length)));
      }
    }
  }
}

/** Which hole pixels of `smaller` are needed where `deep` is 1. @param {Mask} deep @param {{hole: Mask, scale: number}} smaller */
export function neededOfSmaller(deep, { hole, scale }) {
  const some = new Mask(Math.ceil(deep.height / scale), Math.ceil(deep.width / scale));
  for (let y = 0; y < deep.height; y++) {
    for (let x = 0; x < deep.width; x++) {
      if (deep.data[y * deep.width + x]) some.data[Math.floor(y / scale) * some.width + Math.floor(x / scale)] = 1;
    }
  }
  return dilate(some, REACH).and(hole);
}

/** Means over cells; the last row and column are repeated where a side is odd. @param {Planes} image @returns {Planes} */
function cellMeans({ data, height, width }) {
  const [rows, columns] = [Math.ceil(height / MEAN_CELL), Math.ceil(width / MEAN_CELL)];
  const means = new Float32Array(CHANNELS * rows * columns);
  for (let i = 0; i < means.length; i++) {
    const [c, y, x] = [Math.floor(i / columns / rows), Math.floor(i / columns) % rows, i % columns];
    let sum = 0;
    for (const v of [2 * y, Math.min(2 * y + 1, height - 1)]) {
      for (const u of [2 * x, Math.min(2 * x + 1, width - 1)]) sum = Math.fround(sum + data[(c * height + v) * width + u]);
    }
    means[i] = sum / 4;
  }
  return { data: means, height: rows, width: columns };
}

/**
 * One window at full size, (3, h, w), bicubic between the cells as in Pillow, within 0..1.
 * @param {Planes} cells
 * @param {number} scale
 * @param {Box} box
 */
export function surfaceStart({ data, height, width }, scale, { top, bottom, left, right }) {
  const side = scale * MEAN_CELL;
  const across = bicubic(width, left / side, right / side, right - left);
  const down = bicubic(height, top / side, bottom / side, bottom - top);
  const [h, w] = [bottom - top, right - left];
  const result = new Float32Array(CHANNELS * h * w);
  const first = down[0].start;
  const last = down[h - 1].start + down[h - 1].weights.length;
  const wide = new Float32Array((last - first) * w);
  for (let c = 0; c < CHANNELS; c++) {
    for (let y = first; y < last; y++) {
      for (let x = 0; x < w; x++) {
        const { start, weights } = across[x];
        const from = (c * height + y) * width + start;
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += data[from + k] * weights[k];
        wide[(y - first) * w + x] = sum;
      }
    }
    for (let y = 0; y < h; y++) {
      const { start, weights } = down[y];
      for (let x = 0; x < w; x++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += wide[(start - first + k) * w + x] * weights[k];
        result[(c * h + y) * w + x] = Math.min(1, Math.max(0, sum));
      }
    }
  }
  return result;
}

/**
 * Pillow's weights for enlarging.
 * @param {number} size of the input
 * @param {number} from
 * @param {number} to
 * @param {number} count of the output
 */
function bicubic(size, from, to, count) {
  const [start, end] = [Math.fround(from), Math.fround(to)];
  const scale = (end - start) / count;
  return Array.from({ length: count }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 2 + 0.5));
    const last = Math.min(size, Math.trunc(centre + 2 + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) => cubic(k + first - centre + 0.5));
    const sum = weights.reduce((all, each) => all + each, 0);
    return { start: first, weights: weights.map((each) => each / sum) };
  });
}

/** Keys' cubic with a = -0.5. @param {number} distance */
function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}
