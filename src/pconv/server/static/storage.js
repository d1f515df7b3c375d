// What was done to a photo, kept in this browser so that a reload or a crash loses nothing.
//
// A session is a photo with its versions, its hole map and its history. Every tab has one; a tab that opens takes up
// the newest session that no other tab has.

import { keep, kept } from "./kept.js";

/** @typedef {import("./history.js").Step} Step */

/**
 * @typedef {object} Session
 * @property {string} id
 * @property {number} saved when, in milliseconds
 * @property {string} name of the photo's file
 * @property {number} width
 * @property {number} height
 * @property {number} version that is shown
 * @property {number} position in the history
 * @property {number} first number of the history's first step
 */

/**
 * @typedef {object} Change What one transaction writes.
 * @property {Session} session
 * @property {Map<number, Step>} [steps]
 * @property {number[]} [noSteps] that are dropped
 * @property {Map<number, Uint32Array>} [tiles] of the hole map, as they are now
 * @property {Map<number, Blob>} [versions]
 * @property {number[]} [noVersions] that are dropped
 */

/** @typedef {{session: Session, steps: Step[], tiles: Map<number, Uint32Array>, versions: Map<number, Blob>}} Saved */

const OWN = "pconv-session";
const MOST_SESSIONS = 3;
const PARTS = ["steps", "tiles", "versions"];

export class Storage {
  constructor() {
    this.id = "";
    /** @type {IDBDatabase | null} */
    this.database = null;
    /** @type {Promise<void>} */
    this.queue = Promise.resolve();
    /** @type {(error: unknown) => void} */
    this.onFail = () => {};
  }

  /** Open the database and take up a session. @returns {Promise<Saved | null>} what was kept of it */
  async open() {
    this.database = await opened();
    const all = /** @type {Session[]} */ (
      await done(this.database.transaction("sessions").objectStore("sessions").getAll())
    );
    all.sort((one, other) => other.saved - one.saved);
    const own = kept("sessionStorage", OWN);
    if (own && (await locked(own, 1000))) this.id = own;
    for (const { id } of all) if (!this.id && (await locked(id, 0))) this.id = id;
    const saved = all.some(({ id }) => id === this.id) ? await this.load(this.id) : null;
    if (!this.id) {
      this.id = Date.now().toString(36) + Math.random().toString(36).slice(2);
      await locked(this.id, 0);
    }
    keep("sessionStorage", OWN, this.id);
    for (const { id } of all.slice(MOST_SESSIONS)) if (id !== this.id) await this.forget(id);
    return saved;
  }

  /** Forget everything of this tab's session, and start it anew. @param {Change} change */
  replace(change) {
    this.write((transaction) => {
      for (const name of PARTS) transaction.objectStore(name).delete(everythingOf(this.id));
      put(transaction, change);
    });
  }

  /** @param {Change} change */
  save(change) {
    this.write((transaction) => put(transaction, change));
  }

  /** Resolves when everything handed over is written. */
  async settled() {
    await this.queue;
  }

  /** @param {(transaction: IDBTransaction) => void} fill */
  write(fill) {
    this.queue = this.queue.then(async () => {
      if (!this.database) return;
      try {
        const transaction = this.database.transaction(["sessions", ...PARTS], "readwrite");
        const end = finished(transaction);
        try {
          fill(transaction);
        } catch (error) {
          transaction.abort();
          await end.catch(() => {});
          throw error;
        }
        await end;
      } catch (error) {
        this.onFail(error);
      }
    });
  }

  /** @param {string} id @returns {Promise<Saved | null>} */
  async load(id) {
    if (!this.database) return null;
    const transaction = this.database.transaction(["sessions", ...PARTS]);
    const session = await done(transaction.objectStore("sessions").get(id));
    const [steps, tiles, versions] = await Promise.all(PARTS.map((name) => numbered(transaction, name, id)));
    if (!session || !versions.has(0) || !versions.has(session.version)) return null;
    const inOrder = [...steps].sort(([one], [other]) => one - other).map(([, step]) => step);
    return { session, steps: inOrder, tiles, versions };
  }

  /** @param {string} id */
  async forget(id) {
    if (!(await locked(id, 0))) return; // another tab works on it
    this.write((transaction) => {
      transaction.objectStore("sessions").delete(id);
      for (const name of PARTS) transaction.objectStore(name).delete(everythingOf(id));
    });
  }
}

/** @param {IDBTransaction} transaction @param {Change} change */
function put(transaction, { session, steps, noSteps, tiles, versions, noVersions }) {
  const { id } = session;
  transaction.objectStore("sessions").put(session);
  for (const number of noSteps ?? []) transaction.objectStore("steps").delete([id, number]);
  for (const number of noVersions ?? []) transaction.objectStore("versions").delete([id, number]);
  for (const [number, step] of steps ?? []) transaction.objectStore("steps").put(step, [id, number]);
  for (const [number, bits] of tiles ?? []) transaction.objectStore("tiles").put(bits, [id, number]);
  for (const [number, blob] of versions ?? []) transaction.objectStore("versions").put(blob, [id, number]);
}

/** @param {string} id */
function everythingOf(id) {
  return IDBKeyRange.bound([id], [id, []]); // arrays sort after every number
}

/**
 * @param {IDBTransaction} transaction
 * @param {string} name
 * @param {string} id
 * @returns {Promise<Map<number, any>>}
 */
async function numbered(transaction, name, id) {
  const store = transaction.objectStore(name);
  const [keys, values] = await Promise.all([
    done(store.getAllKeys(everythingOf(id))),
    done(store.getAll(everythingOf(id))),
  ]);
  return new Map(keys.map((key, i) => [Number(/** @type {IDBValidKey[]} */ (key)[1]), values[i]]));
}

/** @returns {Promise<IDBDatabase>} */
function opened() {
  const request = indexedDB.open("pconv", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("sessions", { keyPath: "id" });
    for (const name of PARTS) request.result.createObjectStore(name);
  };
  return done(request);
}

/**
 * Hold a session for as long as this tab lives. Where the browser has no locks (pages that come over plain http from
 * another machine), every session counts as free.
 * @param {string} id
 * @param {number} patience in milliseconds: a tab that reloads may not have let go yet
 * @returns {Promise<boolean>}
 */
function locked(id, patience) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    const held = (/** @type {Lock | null} */ lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : Promise.resolve();
    };
    const options = patience ? { signal: AbortSignal.timeout(patience) } : { ifAvailable: true };
    navigator.locks.request(`pconv-${id}`, options, held).catch(() => resolve(false));
  });
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
