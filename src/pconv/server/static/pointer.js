// Mouse, pen and fingers on the stage: painting, moving the photo, zooming.

/** @typedef {import("./view.js").View} View */
/** @typedef {import("./painter.js").Painter} Painter */
/** @typedef {import("./shapes.js").Point} Point */

const LINE = 16; // pixels that a wheel event counted in lines stands for
const PEN_ERASER = 32;

export class Pointers {
  /**
   * @param {View} view
   * @param {Painter} painter
   */
  constructor(view, painter) {
    this.view = view;
    this.painter = painter;
    /** Whether the hole map may be changed now. */
    this.mayPaint = () => true;
    /** Called when the pointer moved: where, or null when it left. @type {(point: Point | null) => void} */
    this.onHover = () => {};
    /** Called when a stroke begins. */
    this.onPut = () => {};
    /** Called when a stroke has ended. */
    this.onLift = () => {};
    /** @type {(steps: number) => void} */
    this.onSize = () => {};
    /** Space is held: the photo is moved instead of painted on. */
    this.space = false;
    /** Whether the photo was moved while space was held. */
    this.moved = false;
    /** @type {{id: number, does: "paint" | "pan", pen: boolean} | null} */
    this.active = null;
    /** Fingers on the stage. @type {Map<number, Point>} */
    this.fingers = new Map();
    const { stage } = view;
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
      stage.addEventListener(end, (event) => this.up(event));
    }
    stage.addEventListener("pointerleave", () => this.onHover(null));
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (!(event.target instanceof Element) || event.target.closest("button, [role=slider]")) return;
    const at = this.at(event);
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, at);
      if (this.active?.pen) return; // the hand that holds the pen
      if (this.fingers.size > 1) {
        if (this.active?.does === "paint") this.painter.cancel(); // it was no stroke but the first finger of two
        this.active = null;
        return;
      }
    }
    if (this.active) return;
    this.view.stage.focus({ preventScroll: true });
    event.preventDefault();
    const pans = event.button === 1 || this.space || this.painter.tool === "hand" || !this.mayPaint();
    this.active = { id: event.pointerId, does: pans ? "pan" : "paint", pen: event.pointerType === "pen" };
    this.last = at;
    this.view.stage.setPointerCapture(event.pointerId);
    if (!pans) {
      const erases = event.button === 2 || (event.buttons & PEN_ERASER) !== 0 || event.altKey;
      if (this.painter.down) this.painter.cancel(); // put down by a key
      this.painter.put(this.view.toPhoto(at.x, at.y), erases);
      this.onPut();
    }
    this.onHover(at);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const at = this.at(event);
    if (this.fingers.size > 1 && this.fingers.has(event.pointerId) && !this.active) {
      this.pinch(event.pointerId, at);
      return;
    }
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, at);
    if (!this.active || event.pointerId === this.active.id) this.onHover(at);
    if (event.pointerId !== this.active?.id) return;
    if (this.active.does === "pan") {
      this.view.pan(at.x - this.last.x, at.y - this.last.y);
      this.last = at;
      this.moved = true;
      return;
    }
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const { x, y } = this.at(each);
      this.painter.lead(this.view.toPhoto(x, y));
    }
  }

  /** @param {PointerEvent} event */
  up(event) {
    this.fingers.delete(event.pointerId);
    if (event.pointerType !== "mouse") this.onHover(null);
    if (event.pointerId !== this.active?.id) return;
    const { does } = this.active;
    this.active = null;
    if (does !== "paint") return;
    if (event.type === "pointercancel") this.painter.cancel();
    else if (this.painter.lift()) this.onLift();
  }

  /** Two fingers: their middle moves the photo, their distance zooms. @param {number} id @param {Point} at */
  pinch(id, at) {
    const [other] = [...this.fingers].filter(([finger]) => finger !== id).map(([, point]) => point);
    const was = /** @type {Point} */ (this.fingers.get(id));
    const distance = (/** @type {Point} */ point) => Math.max(10, Math.hypot(point.x - other.x, point.y - other.y));
    this.view.pan((at.x - was.x) / 2, (at.y - was.y) / 2);
    this.view.zoom(distance(at) / distance(was), (at.x + other.x) / 2, (at.y + other.y) / 2);
    this.fingers.set(id, at);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1;
    const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
    const at = this.at(event);
    if (event.altKey) this.onSize(-Math.sign(dy || dx));
    else if (event.shiftKey) this.view.pan(-(dx || dy), 0);
    else this.view.zoom(Math.exp(-dy * (event.ctrlKey ? 0.01 : 0.0015)), at.x, at.y);
    this.onHover(at);
  }

  /** Where an event is on the stage. @param {MouseEvent} event @returns {Point} */
  at(event) {
    const { left, top } = this.view.stage.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  /** @type {Point} */
  last = { x: 0, y: 0 };
}
