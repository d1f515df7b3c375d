// The original beside what became of it: a line to drag, or the original alone while a key is held.

/** @typedef {import("./app.js").App} App */

const STEP = 0.02;

export class Compare {
  /**
   * @param {App} app
   * @param {HTMLElement} handle
   * @param {HTMLButtonElement} button
   */
  constructor(app, handle, button) {
    this.app = app;
    this.handle = handle;
    this.button = button;
    this.on = false;
    this.share = 0.5;
    button.addEventListener("click", () => this.toggle());
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const { left, width } = app.view.stage.getBoundingClientRect();
      this.move((event.clientX - left) / width);
    });
    handle.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: this.share - STEP, ArrowRight: this.share + STEP, Home: 0, End: 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.move(to);
    });
  }

  /** There is something to compare. */
  get possible() {
    return this.app.editor.opened && this.app.editor.version !== 0;
  }

  toggle() {
    if (!this.possible) return;
    this.on = !this.on;
    this.share = 0.5;
    this.update();
    if (this.on) this.handle.focus();
    else this.app.view.stage.focus();
  }

  /** @param {boolean} show the original alone */
  async peek(show) {
    const { view } = this.app;
    if (show && this.possible) view.before = await this.app.before();
    view.showBefore = show && this.possible;
    view.stage.dataset.showing = view.showBefore ? "before" : "after";
    view.redrawPhoto();
  }

  /** @param {number} share of the stage that shows the original */
  move(share) {
    this.share = Math.min(1, Math.max(0, share));
    this.update();
  }

  async update() {
    const { view } = this.app;
    if (!this.possible) this.on = false;
    this.handle.hidden = !this.on;
    this.button.setAttribute("aria-pressed", String(this.on));
    this.handle.style.left = `${this.share * 100}%`;
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.share * 100)));
    view.wipe = this.on ? this.share : null;
    if (this.on) view.before = await this.app.before();
    else if (!view.showBefore) view.before = null;
    view.redrawPhoto();
  }
}
