// The photo, its hole map and its history: everything that is worked on, and nothing of how it looks.

import { HoleMap, TILE } from "./holes.js";
import { History } from "./history.js";

/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./storage.js").Saved} Saved */
/** @typedef {import("./storage.js").Change} Change */
/** @typedef {import("./holes.js").Box} Box */
/** @typedef {import("./history.js").Fill} Fill */
/** @typedef {import("./history.js").Step} Step */

export class Editor {
  /** @param {Storage} storage */
  constructor(storage) {
    this.storage = storage;
    this.name = "";
    this.map = new HoleMap(0, 0);
    this.history = new History();
    /**
     * The photo as it was opened (0) and after each fill, as files. Never drawn by this page and read back: a
     * browser's pixels have 8 bits, no colour profile, and are not the file's.
     * @type {Map<number, Blob>}
     */
    this.versions = new Map();
    this.version = 0;
    this.newest = 0;
    /** Called after every change, with where the hole map changed. @type {(box: Box | null) => void} */
    this.onChange = () => {};
  }

  get opened() {
    return this.versions.size > 0;
  }

  get original() {
    return this.blob(0);
  }

  get current() {
    return this.blob(this.version);
  }

  /** The number of the version that the next fill makes; none is used twice, so that nobody takes one for another. */
  get nextVersion() {
    return Math.max(this.newest, ...this.versions.keys()) + 1;
  }

  /** @param {number} version */
  blob(version) {
    const blob = this.versions.get(version);
    if (!blob) throw new Error(`there is no version ${version} of the photo`);
    return blob;
  }

  /**
   * Begin anew with a photo.
   * @param {Blob} blob
   * @param {string} name
   * @param {{width: number, height: number}} size as the browser shows it: upright
   */
  open(blob, name, { width, height }) {
    this.name = name;
    this.map = new HoleMap(width, height);
    this.history = new History();
    this.versions = new Map([[0, blob]]);
    this.version = 0;
    this.storage.replace({ session: this.session, versions: this.versions });
    this.onChange(null);
  }

  /**
   * Go on where a reload, a crash or another photo cut in.
   * @param {Saved} saved
   * @param {boolean} [again] save it once more
   */
  restore({ session, steps, tiles, versions }, again = false) {
    this.name = session.name;
    this.map = new HoleMap(session.width, session.height);
    for (const [number, bits] of tiles) this.map.setTile(number, bits);
    this.map.recount();
    this.history = new History();
    Object.assign(this.history, { steps, position: session.position, first: session.first });
    this.versions = versions;
    this.version = session.version;
    if (again) {
      const numbered = new Map(steps.map((step, i) => [session.first + i, step]));
      this.storage.replace({ session: this.session, steps: numbered, tiles, versions });
    }
    this.onChange(null);
  }

  /** Everything there is, as it can be restored. @returns {Saved} */
  saved() {
    const numbers = [];
    for (let number = 0; number < this.map.columns * Math.ceil(this.map.height / TILE); number++) numbers.push(number);
    const tiles = new Map([...this.tiles(numbers)].filter(([, bits]) => bits.some((word) => word !== 0)));
    return { session: this.session, steps: this.history.steps, tiles, versions: this.versions };
  }

  /**
   * End what map.begin started: one step of the history.
   * @param {string} what
   * @returns {boolean} whether anything changed
   */
  commit(what) {
    const changes = this.map.commit();
    if (!changes.size) return false;
    this.push({ what, changes, from: this.version, to: this.version });
    return true;
  }

  /**
   * Change the hole map in one step.
   * @param {string} what
   * @param {(map: HoleMap) => Box | null} change
   */
  edit(what, change) {
    this.map.begin();
    const box = change(this.map);
    const changed = this.commit(what);
    if (changed) this.onChange(box);
    return changed;
  }

  /** Go on with a filled photo: nothing is marked in it. @param {Blob} blob @param {number} feather of the fill */
  fill(blob, feather) {
    this.map.begin();
    const box = this.map.clear();
    const changes = this.map.commit();
    this.exchange(blob, { what: "fill", changes, fill: { from: this.version, hole: changes, seed: 0, feather } });
    this.onChange(box);
  }

  /**
   * Go on with another fill in the place of the last one. What was marked since then stays marked.
   * @param {Blob} blob
   * @param {Fill} fill
   */
  fillAgain(blob, fill) {
    this.exchange(blob, { what: "another fill", changes: new Map(), fill });
    this.onChange(null);
  }

  /** The hole map of a fill. @param {Fill} fill */
  holeOf({ hole }) {
    const map = new HoleMap(this.map.width, this.map.height);
    for (const [number, bits] of hole) map.setTile(number, bits);
    return map;
  }

  /** One step to a new version of the photo. @param {Blob} blob @param {Omit<Step, "from" | "to">} step */
  exchange(blob, step) {
    const from = this.version;
    this.newest = this.version = this.nextVersion;
    this.versions.set(this.version, blob);
    this.push({ ...step, from, to: this.version }, this.version);
  }

  undo() {
    return this.go(this.history.undo(), "from");
  }

  redo() {
    return this.go(this.history.redo(), "to");
  }

  /** @param {Step | null} step @param {"from" | "to"} side */
  go(step, side) {
    if (!step) return null;
    const box = this.map.flip(step.changes);
    this.version = step[side];
    this.storage.save({ session: this.session, tiles: this.tiles(step.changes.keys()) });
    this.onChange(box);
    return step;
  }

  /** @param {Step} step @param {number} [added] a new version of the photo */
  push(step, added) {
    const { number, forgotten } = this.history.push(step);
    const used = this.history.versions.add(0).add(this.version);
    const noVersions = [...this.versions.keys()].filter((version) => !used.has(version));
    for (const version of noVersions) this.versions.delete(version);
    /** @type {Change} */
    const change = {
      session: this.session,
      steps: new Map([[number, step]]),
      noSteps: forgotten,
      tiles: this.tiles(step.changes.keys()),
      noVersions,
    };
    if (added !== undefined) change.versions = new Map([[added, this.blob(added)]]);
    this.storage.save(change);
  }

  /** @param {Iterable<number>} numbers */
  tiles(numbers) {
    return new Map([...numbers].map((number) => [number, this.map.tile(number)]));
  }

  get session() {
    const { name, version } = this;
    const { width, height } = this.map;
    const { position, first } = this.history;
    return { id: this.storage.id, saved: Date.now(), name, width, height, version, position, first };
  }
}
