// The tools, working on the hole map. A tool is put down at a point, led along, and lifted, by a pointer or by keys.

import { outline } from "./shapes.js";

/** @typedef {import("./editor.js").Editor} Editor */
/** @typedef {import("./shapes.js").Point} Point */
/** @typedef {"brush" | "eraser" | "rectangle" | "lasso" | "hand"} Tool */

export class Painter {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    /** @type {Tool} */
    this.tool = "brush";
    /** The brush's diameter, in pixels of the photo. */
    this.size = 40;
    this.erases = false;
    /** Where the tool has been since it was put down. @type {Point[]} */
    this.trail = [];
    /** Called while the hole map changes, with where. @type {(box: import("./holes.js").Box | null) => void} */
    this.onPaint = () => {};
    /** Called when the outline of a shape that is being drawn changes. @type {(outline: Point[]) => void} */
    this.onOutline = () => {};
  }

  get down() {
    return this.trail.length > 0;
  }

  get round() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  get largest() {
    const { width, height } = this.editor.map;
    return Math.max(64, Math.round(Math.max(width, height) / 3));
  }

  /** @param {Point} point @param {boolean} [erase] whatever the tool */
  put(point, erase = false) {
    if (this.down || this.tool === "hand") return;
    this.erases = erase || this.tool === "eraser";
    this.trail = [point];
    this.editor.map.begin();
    if (this.round) this.stroke(point, point);
    else this.onOutline(this.outline);
  }

  /** @param {Point} point */
  lead(point) {
    if (!this.down) return;
    if (this.round) {
      this.stroke(this.trail[0], point);
      this.trail = [point];
    } else {
      if (this.tool === "rectangle") this.trail = [this.trail[0], point];
      else this.trail.push(point);
      this.onOutline(this.outline);
    }
  }

  /** @returns {boolean} whether anything changed */
  lift() {
    if (!this.down) return false;
    if (!this.round) this.paint(this.shape());
    this.trail = [];
    this.onOutline([]);
    return this.editor.commit(this.what);
  }

  cancel() {
    if (!this.down) return;
    this.trail = [];
    this.onOutline([]);
    this.onPaint(this.editor.map.rollback());
  }

  /** @param {Point} from @param {Point} to */
  stroke(from, to) {
    this.paint(outline.stroke(from, to, this.size));
  }

  /** @param {import("./shapes.js").Rows | null} rows */
  paint(rows) {
    this.onPaint(this.editor.map.paint(rows, !this.erases));
  }

  shape() {
    const [first, ...others] = this.trail;
    const last = others.at(-1) ?? first;
    return this.tool === "rectangle" ? outline.rectangle(first.x, first.y, last.x, last.y) : outline.lasso(this.trail);
  }

  get outline() {
    if (this.tool === "lasso") return this.trail;
    const first = this.trail[0];
    const last = this.trail.at(-1) ?? first;
    return [first, { x: last.x, y: first.y }, last, { x: first.x, y: last.y }];
  }

  get what() {
    if (this.round) return this.erases ? "eraser stroke" : "brush stroke";
    return this.erases ? `erased ${this.tool}` : this.tool;
  }
}
