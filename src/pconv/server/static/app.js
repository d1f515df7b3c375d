// What a person can do: open, fill, undo, compare, download. Each function is one of the page's buttons.

import { ApiError } from "./api.js";
import { kindOf, nameFor } from "./formats.js";
import { decodePhoto, encodeMask, growMask, readMask } from "./jobs.js";
import { ImageCache } from "./images.js";
import { wantToken } from "./token.js";
import { say, save, unwarn, warn, working } from "./ui.js";

/** @typedef {import("./editor.js").Editor} Editor */
/** @typedef {import("./painter.js").Painter} Painter */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./holes.js").Box} Box */
/** @typedef {import("./holes.js").HoleMap} HoleMap */
/** @typedef {import("./server-engine.js").Engine} Engine */
/** @typedef {import("./server-engine.js").Progress} Progress */

export class App {
  /**
   * @param {Editor} editor
   * @param {Painter} painter
   * @param {View} view
   * @param {Engine} engine
   */
  constructor(editor, painter, view, engine) {
    this.editor = editor;
    this.painter = painter;
    this.view = view;
    this.engine = engine;
    this.images = new ImageCache(engine, (decoded) => decoded === view.image || decoded === view.before);
    /** @type {import("./api.js").Info | null} */
    this.info = null;
    this.busy = false;
    this.feather = 0;
    this.format = engine.formats[0];
    /** The last download that the engine wrote, by version and format. @type {{key: string, blob: Blob} | null} */
    this.written = null;
    /** Called after anything that buttons depend on has changed. */
    this.onState = () => {};
    editor.onChange = (box) => this.changed(box);
  }

  get idle() {
    return this.editor.opened && !this.busy;
  }

  /**
   * @param {Blob} file
   * @param {string} name
   */
  async open(file, name) {
    if (this.busy) return say("One moment: this can be done when the work in progress has ended.");
    const most = this.info?.limits ?? {};
    await this.work("Opening", async (signal) => {
      if (most.bytes && file.size > most.bytes) {
        throw new ApiError("too_large", `${name} is too large: ${megabytes(most.bytes)} are accepted at most.`);
      }
      const bytes = await file.arrayBuffer().catch(() => {
        throw new ApiError("unreadable", `${name} cannot be read; is it still there?`);
      });
      const blob = new Blob([bytes], { type: file.type }); // the file may change on the disk, or go
      const note = await this.engine.check(blob);
      const decoded = await this.images.read(blob, signal);
      const { width, height } = decoded;
      if (most.pixels && width * height > most.pixels) {
        const limit = `${Math.floor(most.pixels / 1e6)} megapixels`;
        throw new ApiError("too_large", `${name} has ${width} × ${height} pixels; ${limit} are accepted at most.`);
      }
      const previous = this.editor.opened && this.editor.history.steps.length ? this.editor.saved() : null;
      this.images.forget();
      this.images.put(0, decoded);
      this.written = null;
      this.painter.size = Math.max(4, Math.round(Math.max(width, height) / 24));
      this.editor.open(blob, name, decoded);
      this.view.fit();
      say(`${name}, ${width} × ${height} pixels. Paint over what should go, then press Fill.${note && ` ${note}`}`);
      if (previous) {
        const back = { label: "Back to it", run: () => this.restore(previous, true) };
        warn(`This replaces ${previous.session.name}.`, back, { calm: true });
      }
    }, () => this.open(file, name));
  }

  /**
   * Go on with what was worked on before.
   * @param {import("./storage.js").Saved} saved
   * @param {boolean} [again] whether it has to be saved once more
   */
  async restore(saved, again = false) {
    await this.work("Opening", async (signal) => {
      const blob = /** @type {Blob} */ (saved.versions.get(saved.session.version));
      const decoded = await this.images.read(blob, signal);
      this.images.forget();
      this.images.put(saved.session.version, decoded);
      this.written = null;
      this.editor.restore(saved, again);
      this.painter.size = Math.max(4, Math.round(Math.max(decoded.width, decoded.height) / 24));
      this.view.fit();
      say(`${saved.session.name} is back, with everything you did to it.`);
    }, () => this.restore(saved, again));
  }

  async fill() {
    if (!this.idle) return;
    this.painter.lift();
    const { editor } = this;
    if (!editor.map.count) return say("Paint over what should go first.");
    if (editor.map.count === editor.map.width * editor.map.height) {
      return warn("Everything is marked, so nothing is left to fill it from: erase some of the mask.");
    }
    await this.work("Filling", async (signal, progress) => {
      const options = { seed: 0, feather: this.feather };
      const { blob, ratio, after } = await this.filled(editor.current, editor.map, options, signal, progress);
      editor.fill(blob, options.feather);
      say(`Filled${ratio === null ? "" : ` ${percent(ratio)} of the photo`}${after}`);
    }, () => this.fill());
  }

  /** How many fills of one hole the model has; 1 until the engine has said it. */
  get seeds() {
    return this.info?.seeds ?? 1;
  }

  get canFillAgain() {
    return this.idle && this.seeds > 1 && this.editor.history.lastFill !== null;
  }

  /** Fill what the last fill filled, from the same photo and with the same feather, with the next seed. */
  async fillAgain() {
    if (!this.idle) return;
    this.painter.lift();
    const { editor, seeds } = this;
    const last = editor.history.lastFill;
    if (!last) return say("Nothing is filled yet: paint over what should go, then press Fill.");
    if (seeds < 2) return say("The model fills a hole in one way only.");
    await this.work("Filling", async (signal, progress) => {
      const fill = { ...last, seed: (last.seed + 1) % seeds };
      const { blob, after } = await this.filled(editor.blob(fill.from), editor.holeOf(fill), fill, signal, progress);
      editor.fillAgain(blob, fill);
      say(`Another fill (${fill.seed + 1} of ${seeds})${after} Undo brings back the one before.`);
    }, () => this.fillAgain());
  }

  /**
   * Have a version of the photo filled; the answer is shown once the editor has it as its next version.
   * @param {Blob} image
   * @param {HoleMap} map
   * @param {{seed: number, feather: number}} options
   * @param {AbortSignal} signal
   * @param {Progress} progress
   */
  async filled(image, map, { seed, feather }, signal, progress) {
    const { editor } = this;
    const options = { name: editor.name, seed, feather };
    const { blob, seconds, ratio, notes } = await this.engine.fill(image, map, options, progress, signal);
    const decoded = await decodePhoto(blob).catch(() => {
      throw new ApiError("answer", "What the server sent back is not an image; nothing has changed.");
    });
    if (decoded.width !== map.width || decoded.height !== map.height) {
      const size = `${decoded.width} × ${decoded.height}`;
      throw new ApiError("answer_size", `The server sent back an image of another size (${size}); it is not used.`);
    }
    this.images.put(editor.nextVersion, decoded);
    return { blob, ratio, after: `${seconds === null ? "" : ` in ${seconds.toFixed(1)} s`}.${notes && ` ${notes}`}` };
  }

  async download() {
    if (!this.idle) return;
    const { editor, format } = this;
    await this.work("Writing", async (signal, progress) => {
      const own = await kindOf(editor.original);
      const kind = format === "png" ? "png" : own;
      const name = nameFor(editor.name, editor.version ? "-filled" : "", kind);
      if (kind === (await kindOf(editor.current))) return save(editor.current, name);
      const key = `${editor.version} ${format}`;
      if (this.written?.key !== key) {
        const { name, original, map } = editor;
        const options = { name, original, format, width: map.width, height: map.height };
        this.written = { key, blob: await this.engine.write(editor.current, options, progress, signal) };
      }
      save(this.written.blob, name);
    }, () => this.download(), (error) => this.offerPng(error));
  }

  /** Where the server cannot write the photo's own format, PNG always goes. @param {unknown} error */
  offerPng(error) {
    if (!(error instanceof ApiError) || error.retryAfter !== null || error.status < 400 || error.status === 401) return false;
    if (this.format === "png") return false;
    const run = () => save(this.editor.current, nameFor(this.editor.name, "-filled", "png"));
    warn(error.message, { label: "Download as PNG", run });
    return true;
  }

  /** @param {number} by */
  async grow(by) {
    if (!this.idle) return;
    if (!this.editor.map.count) return say("Nothing is marked yet, so nothing can grow.");
    await this.work("Growing", async () => {
      const words = await growMask(this.editor.map, by);
      if (this.editor.edit(`grow by ${by}`, (map) => map.take(words))) say(`Grown by ${by} pixels.`);
    });
  }

  /** @param {File} file */
  async importMask(file) {
    if (!this.idle) return;
    await this.work("Reading", async () => {
      const { width, height } = this.editor.map;
      const read = await readMask(file, this.editor.map).catch(() => {
        throw new ApiError("mask_file", `${file.name} is not an image that this browser can read; PNG is always fine.`);
      });
      if (!read.words) {
        const sizes = `The mask has ${read.width} × ${read.height} pixels and the photo ${width} × ${height}`;
        throw new ApiError("mask_size", `${sizes}: they must be of one shape.`);
      }
      const { words } = read;
      const changed = this.editor.edit("imported mask", (map) => map.take(words));
      const scaled = read.width !== width || read.height !== height ? ", scaled to the photo’s size" : "";
      const share = percent(this.editor.map.count / (width * height));
      say(changed ? `${file.name} marks ${share} of the photo${scaled}.` : `${file.name} marks what was marked already.`);
    });
  }

  async exportMask() {
    if (!this.idle) return;
    await this.work("Writing", async () => {
      save(await encodeMask(this.editor.map, 8), nameFor(this.editor.name, "-mask", "png"));
    });
  }

  clear() {
    this.painter.cancel();
    if (this.idle && this.editor.edit("clear", (map) => map.clear())) say("Cleared. Undo brings it back.");
  }

  undo() {
    if (!this.idle) return;
    this.painter.cancel();
    const step = this.editor.undo();
    say(step ? `Undone: ${step.what}.` : "There is nothing to undo.");
  }

  redo() {
    if (!this.idle) return;
    this.painter.cancel();
    const step = this.editor.redo();
    say(step ? `Done again: ${step.what}.` : "There is nothing to do again.");
  }

  /**
   * Run something that takes a while; nothing can be changed meanwhile, and whatever fails is said in a sentence.
   * @param {string} what
   * @param {(signal: AbortSignal, progress: Progress) => Promise<void>} task
   * @param {(() => void) | null} [again] what "Try again" does
   * @param {(error: unknown) => boolean} [handled] whether a failure has been dealt with
   */
  async work(what, task, again = null, handled = () => false) {
    if (this.busy) return;
    const controller = new AbortController();
    this.cancel = () => controller.abort();
    this.busy = true;
    this.painter.cancel(); // a stroke that something else cut in on
    if (again) unwarn(); // small things leave an offer to try again where it is
    const progress = working(what, again && this.cancel);
    this.onState();
    try {
      await task(controller.signal, progress.step);
    } catch (error) {
      if (!handled(error)) fail(error, again);
    } finally {
      this.cancel = () => {};
      this.busy = false;
      progress.end();
      this.onState();
    }
  }

  cancel = () => {};

  /** The hole map or the photo's version is another now. @param {Box | null} box */
  changed(box) {
    const { editor, view } = this;
    view.redrawMask(box);
    this.onState();
    if (view.image && view.version === editor.version && view.map === editor.map) return;
    const { version, map } = editor;
    this.images.get(version, editor.blob(version)).then(
      (decoded) => {
        if (editor.version !== version || editor.map !== map) return; // it has changed again meanwhile
        view.version = version;
        view.show(decoded, map);
        this.onState();
      },
      (error) => fail(error, () => this.changed(null)),
    );
  }

  /** The photo as it was opened, to compare with. */
  async before() {
    return this.images.get(0, this.editor.original);
  }
}

/** @param {unknown} error @param {(() => void) | null} again */
function fail(error, again) {
  if (error instanceof ApiError) {
    if (error.code === "cancelled") return say(error.message);
    if (error.status === 401) return wantToken(error.message, again ?? (() => {}));
    const retry = again && error.retryAfter !== null ? { label: "Try again", run: again, after: error.retryAfter } : null;
    return warn(error.message, retry);
  }
  const reason = error instanceof Error ? error.message : String(error);
  warn(`Something went wrong in the page (${reason}). What you painted is kept.`, again && { label: "Try again", run: again });
  console.error(error);
}

/** @param {number} ratio */
function percent(ratio) {
  return `${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)} %`;
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${Math.floor(bytes / 1e6)} MB`;
}
