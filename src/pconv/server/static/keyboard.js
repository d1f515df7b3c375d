// Keys: short cuts, and a cursor on the photo that paints without a mouse.

import { say } from "./ui.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./shapes.js").Point} Point */

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Keyboard {
  /**
   * @param {App} app
   * @param {import("./pointer.js").Pointers} pointers
   * @param {Record<string, () => void>} shortcuts by the key as it is typed, in lower case
   */
  constructor(app, pointers, shortcuts) {
    this.app = app;
    this.pointers = pointers;
    this.shortcuts = shortcuts;
    /** Where the cursor is, on the photo; null while a pointer is used. @type {Point | null} */
    this.cursor = null;
    /** The cursor moved or changed. */
    this.onCursor = () => {};
    /** The original is to be shown, or no longer. @type {(show: boolean) => void} */
    this.onPeek = () => {};
    this.stage = app.view.stage;
    document.addEventListener("keydown", (event) => this.down(event));
    document.addEventListener("keyup", (event) => this.up(event));
    window.addEventListener("blur", () => this.release());
    this.stage.addEventListener("pointermove", () => this.leave());
    this.stage.addEventListener("pointerdown", () => this.leave());
  }

  /** @param {KeyboardEvent} event */
  down(event) {
    const { target } = event;
    if (document.querySelector("dialog[open]")) return;
    const alone = event.getModifierState("AltGraph") || !(event.ctrlKey || event.metaKey || event.altKey);
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const typing = target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "range");
    if (typing && !(key === "Escape")) return;
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      const undoes = key === "z" && !event.shiftKey;
      const redoes = key === "y" || (key === "z" && event.shiftKey);
      if (undoes || redoes) {
        event.preventDefault();
        if (undoes) this.app.undo();
        else this.app.redo();
      } else if (key === "Enter") this.app.fill();
      return;
    }
    if (target === this.stage && this.onStage(event, key)) {
      event.preventDefault();
      return;
    }
    if (!alone || event.repeat) {
      if (alone && (key === "[" || key === "]" || key === "+" || key === "-")) this.shortcuts[key]?.();
      return;
    }
    if (key === "c" && this.app.editor.opened) this.onPeek(true);
    else if (this.shortcuts[key]) {
      if (key !== "Escape") event.preventDefault(); // it also closes the panel
      this.shortcuts[key]();
    }
  }

  /** @param {KeyboardEvent} event */
  up(event) {
    if (event.key.toLowerCase() === "c") this.onPeek(false);
    if (event.key !== " " || !this.pointers.space) return;
    this.pointers.space = false;
    this.onCursor();
    if (!this.pointers.moved && document.activeElement === this.stage && !this.pointers.active) this.dot();
  }

  /** Keys that only mean something on the photo. @param {KeyboardEvent} event @param {string} key */
  onStage(event, key) {
    const { painter } = this.app;
    if (key === " ") {
      if (!event.repeat) {
        this.pointers.space = true;
        this.pointers.moved = false;
        this.onCursor();
      }
      return true;
    }
    if (key === "Enter" && !event.repeat) {
      this.enter();
      return true;
    }
    if (key === "Escape" && painter.down) {
      painter.cancel();
      this.onCursor();
      return true;
    }
    const arrow = ARROWS[key];
    if (!arrow) return false;
    const { view, editor } = this.app;
    const step = event.altKey ? 1 : Math.max(1, painter.round ? painter.size : 40 / view.scale) / (event.shiftKey ? 1 : 4);
    const { x, y } = this.appear();
    this.cursor = {
      x: Math.min(editor.map.width, Math.max(0, x + arrow[0] * step)),
      y: Math.min(editor.map.height, Math.max(0, y + arrow[1] * step)),
    };
    view.reveal(this.cursor);
    if (painter.tool === "hand") view.pan(-arrow[0] * 40, -arrow[1] * 40);
    painter.lead(this.cursor);
    this.onCursor();
    return true;
  }

  /** The cursor, in the middle of what is seen if there was none. @returns {Point} */
  appear() {
    const { view, editor } = this.app;
    const { x, y } = this.cursor ?? view.toPhoto(view.width / 2, view.height / 2);
    this.cursor = { x: Math.min(editor.map.width, Math.max(0, x)), y: Math.min(editor.map.height, Math.max(0, y)) };
    return this.cursor;
  }

  enter() {
    const { painter } = this.app;
    if (!this.pointers.mayPaint()) return;
    const at = this.appear();
    if (painter.down) {
      if (painter.lift()) this.pointers.onLift();
    } else {
      painter.put(at);
      if (painter.down) say("Lowered: arrows paint, Enter lifts, Escape cancels.");
    }
    this.onCursor();
  }

  dot() {
    const { painter } = this.app;
    if (!this.cursor || painter.down || !painter.round || !this.pointers.mayPaint()) {
      this.appear();
      this.onCursor();
      return;
    }
    painter.put(this.cursor);
    if (painter.lift()) this.pointers.onLift();
    this.onCursor();
  }

  /** A pointer is used: the cursor goes. */
  leave() {
    if (!this.cursor) return;
    this.cursor = null;
    this.onCursor();
  }

  release() {
    this.pointers.space = false;
    this.onPeek(false);
    this.onCursor();
  }
}
