// What is on the screen: the photo, the hole map over it, where they lie and how large.
//
// Costs follow what is seen, not the photo's size: the photo is drawn from the level nearest to the zoom; the hole map
// is in mask-layer.js.

import { union } from "./holes.js";
import { MaskLayer } from "./mask-layer.js";

/** @typedef {import("./holes.js").Box} Box */
/** @typedef {import("./holes.js").HoleMap} HoleMap */
/** @typedef {import("./jobs.js").DecodedImage} DecodedImage */
/** @typedef {import("./shapes.js").Point} Point */

const MARGIN = 24;
const LARGEST = 32;
const SHARPEST = 2; // device pixels per CSS pixel beyond which nobody sees a difference, but every frame pays for it
const CRISP = 2; // from this magnification on, pixels are shown as squares
const SETTLE = 120; // milliseconds of rest after which the hole map's edges are drawn smoothly

export class View {
  /**
   * @param {HTMLElement} stage
   * @param {HTMLCanvasElement} photo
   * @param {HTMLCanvasElement} mask
   */
  constructor(stage, photo, mask) {
    this.stage = stage;
    this.photo = photo;
    this.mask = mask;
    this.maskLayer = new MaskLayer(mask);
    this.photoContext = /** @type {CanvasRenderingContext2D} */ (photo.getContext("2d"));
    /** @type {DecodedImage | null} */
    this.image = null;
    /** The photo's version that the image shows. */
    this.version = 0;
    /** What the photo is compared with. @type {DecodedImage | null} */
    this.before = null;
    /** Left of this share of the stage's width lies what was before; null: nowhere. @type {number | null} */
    this.wipe = null;
    /** Whether what was before is shown instead. */
    this.showBefore = false;
    /** @type {HoleMap | null} */
    this.map = null;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.width = 1;
    this.height = 1;
    this.density = 1;
    this.fitted = true;
    this.frame = 0;
    this.settling = 0;
    this.photoStale = true;
    this.allStale = true;
    /** @type {Box | null} */
    this.staleBox = null;
    /** @type {CanvasPattern | null} */
    this.squares = null;
    /** Called after the photo moved or changed its size on the screen. */
    this.onMove = () => {};
    new ResizeObserver(() => this.resize()).observe(stage);
    this.resize();
  }

  /** @param {DecodedImage} image @param {HoleMap} map */
  show(image, map) {
    const same = this.image?.width === image.width && this.image.height === image.height;
    this.image = image;
    this.map = map;
    if (!same) this.fit();
    this.redraw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.stage;
    const density = Math.min(SHARPEST, devicePixelRatio);
    const middle = this.toPhoto(this.width / 2, this.height / 2);
    this.width = Math.max(1, clientWidth);
    this.height = Math.max(1, clientHeight);
    this.density = density;
    this.photo.width = Math.round(this.width * density);
    this.photo.height = Math.round(this.height * density);
    this.maskLayer.resize(this.photo.width, this.photo.height);
    if (this.fitted) this.fit();
    else this.place(this.scale, this.width / 2 - middle.x * this.scale, this.height / 2 - middle.y * this.scale);
  }

  get fitScale() {
    const { width, height } = this.image ?? { width: 1, height: 1 };
    const room = (/** @type {number} */ side) => Math.max(32, side - 2 * Math.min(MARGIN, side / 20));
    return Math.min(room(this.width) / width, room(this.height) / height, 4);
  }

  fit() {
    const { width, height } = this.image ?? { width: 1, height: 1 };
    const scale = this.fitScale;
    this.place(scale, (this.width - width * scale) / 2, (this.height - height * scale) / 2);
    this.fitted = true;
  }

  /** @param {number} factor @param {number} [x] @param {number} [y] what stays where it is on the stage */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const smallest = Math.min(this.fitScale, 1) / 2;
    const scale = Math.min(LARGEST, Math.max(smallest, this.scale * factor));
    const { x: px, y: py } = this.toPhoto(x, y);
    this.place(scale, x - px * scale, y - py * scale);
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.place(this.scale, this.x + dx, this.y + dy);
  }

  /** @param {number} scale @param {number} x @param {number} y */
  place(scale, x, y) {
    const { width, height } = this.image ?? { width: 1, height: 1 };
    const kept = 48; // this much of the photo stays in sight
    this.scale = scale;
    this.x = Math.min(this.width - kept, Math.max(kept - width * scale, x));
    this.y = Math.min(this.height - kept, Math.max(kept - height * scale, y));
    this.fitted = false;
    this.redraw();
    this.onMove();
  }

  /** Move as little as needed for a point of the photo to be seen. @param {Point} point */
  reveal(point) {
    const { x, y } = this.toStage(point);
    const edge = Math.min(40, this.width / 8, this.height / 8);
    const off = (/** @type {number} */ at, /** @type {number} */ side) =>
      at < edge ? edge - at : at > side - edge ? side - edge - at : 0;
    const dx = off(x, this.width);
    const dy = off(y, this.height);
    if (dx || dy) this.pan(dx, dy);
  }

  /** @param {number} x @param {number} y on the stage @returns {Point} */
  toPhoto(x, y) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  /** @param {Point} point of the photo @returns {Point} */
  toStage({ x, y }) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }

  /** Draw everything again, in the next frame. */
  redraw() {
    this.photoStale = this.allStale = true;
    this.schedule();
  }

  redrawPhoto() {
    this.photoStale = true;
    this.schedule();
  }

  /** The hole map has changed. @param {Box | null} box where */
  redrawMask(box) {
    this.staleBox = union(this.staleBox, box);
    this.schedule();
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    if (this.photoStale) this.drawPhoto();
    if (this.allStale) {
      const reduced = this.scale * this.density < 1;
      this.drawMask(null, false);
      clearTimeout(this.settling);
      if (reduced) this.settling = window.setTimeout(() => this.drawMask(null, true), SETTLE);
    } else if (this.staleBox) {
      this.drawMask(this.staleBox, true);
    }
    this.photoStale = this.allStale = false;
    this.staleBox = null;
    this.stage.dataset.scale = String(this.scale);
    this.stage.dataset.x = String(this.x);
    this.stage.dataset.y = String(this.y);
  }

  drawPhoto() {
    const { photo, photoContext: context } = this;
    context.clearRect(0, 0, photo.width, photo.height);
    if (!this.image) return;
    const wiped = this.before && this.wipe !== null ? this.wipe * photo.width : 0;
    this.drawDecoded((this.showBefore && this.before) || this.image);
    if (!this.before || !wiped || this.showBefore) return;
    context.save();
    context.beginPath();
    context.rect(0, 0, wiped, photo.height);
    context.clip();
    context.clearRect(0, 0, wiped, photo.height);
    this.drawDecoded(this.before);
    context.restore();
  }

  /** @param {DecodedImage} image */
  drawDecoded({ levels }) {
    const { photoContext: context } = this;
    const zoom = this.scale * this.density;
    const level = levels.findLast(({ scale }) => scale * zoom <= 1) ?? levels[0];
    const [wide, high] = [levels[0].width / level.width, levels[0].height / level.height];
    context.imageSmoothingEnabled = zoom < CRISP;
    this.drawSquares(levels[0].width * zoom, levels[0].height * zoom);
    for (const { x, y, bitmap } of level.pieces) {
      // Whole device pixels, so that no seam shows between the pieces.
      const x0 = Math.round(this.x * this.density + x * wide * zoom);
      const y0 = Math.round(this.y * this.density + y * high * zoom);
      const x1 = Math.round(this.x * this.density + (x + bitmap.width) * wide * zoom);
      const y1 = Math.round(this.y * this.density + (y + bitmap.height) * high * zoom);
      if (x1 > 0 && y1 > 0 && x0 < this.photo.width && y0 < this.photo.height)
        context.drawImage(bitmap, x0, y0, x1 - x0, y1 - y0);
    }
  }

  /** @param {Box | null} box @param {boolean} smooth */
  drawMask(box, smooth) {
    const zoom = this.scale * this.density;
    this.maskLayer.draw(this.map, box, { zoom, left: this.x * this.density, top: this.y * this.density }, smooth);
  }

  /** What shows where the photo is transparent. @param {number} width @param {number} height */
  drawSquares(width, height) {
    const { photoContext: context } = this;
    this.squares ??= squares(context);
    context.fillStyle = this.squares;
    const [left, top] = [this.x * this.density, this.y * this.density];
    const [x, y] = [Math.round(left), Math.round(top)];
    context.fillRect(x, y, Math.round(left + width) - x, Math.round(top + height) - y);
  }
}

/** @param {CanvasRenderingContext2D} context */
function squares(context) {
  const tile = new OffscreenCanvas(16, 16);
  const colours = /** @type {OffscreenCanvasRenderingContext2D} */ (tile.getContext("2d"));
  colours.fillStyle = "#ddd";
  colours.fillRect(0, 0, 16, 16);
  colours.fillStyle = "#bbb";
  colours.fillRect(0, 0, 8, 8);
  colours.fillRect(8, 8, 8, 8);
  return /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
}
