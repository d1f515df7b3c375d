// Versions of the photo, decoded for the screen. The last few stay, so that undo and comparing need not wait.

import { ApiError } from "./api.js";
import { kindOf } from "./formats.js";
import { decodePhoto } from "./jobs.js";

/** @typedef {import("./jobs.js").DecodedImage} DecodedImage */

const KEPT = 3;

export class ImageCache {
  /**
   * @param {import("./server-engine.js").Engine} engine
   * @param {(decoded: DecodedImage) => boolean} inUse whether it is on the screen
   */
  constructor(engine, inUse) {
    this.engine = engine;
    this.inUse = inUse;
    /** From the one used longest ago to the last one. @type {Map<number, Promise<DecodedImage>>} */
    this.known = new Map();
  }

  forget() {
    for (const version of this.known.keys()) this.drop(version);
  }

  /** Give the memory back at once: garbage collectors do not see how much a bitmap holds. @param {number} version */
  drop(version) {
    const decoded = this.known.get(version);
    this.known.delete(version);
    decoded?.then((gone) => {
      if (this.inUse(gone)) return;
      for (const { pieces } of gone.levels) for (const { bitmap } of pieces) bitmap.close();
    }, () => {});
  }

  /** @param {number} version @param {DecodedImage | Promise<DecodedImage>} decoded */
  put(version, decoded) {
    this.known.delete(version);
    this.known.set(version, Promise.resolve(decoded));
    for (const old of this.known.keys()) if (this.known.size > KEPT) this.drop(old);
  }

  /** @param {number} version @param {Blob} blob */
  get(version, blob) {
    const decoded = this.known.get(version) ?? this.read(blob);
    this.put(version, decoded);
    decoded.catch(() => this.known.delete(version));
    return decoded;
  }

  /**
   * Decode a file; what the browser does not know the engine may show.
   * @param {Blob} blob
   * @param {AbortSignal} [signal]
   * @returns {Promise<DecodedImage>}
   */
  async read(blob, signal) {
    try {
      return await decodePhoto(blob);
    } catch {
      const shown = await this.engine.show(blob, signal);
      if (shown) return decodePhoto(shown);
      const known = NOT_SHOWN[await kindOf(blob)];
      throw new ApiError("not_shown", known ?? "This file is damaged, or too large for this browser.");
    }
  }
}

/** @type {Record<string, string>} */
const NOT_SHOWN = {
  "": "This is not a photo that the page knows: it takes JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF.",
  heic: "This browser cannot show HEIC photos; save it as JPEG, or open the page in a browser that can.",
  tiff: "This TIFF is damaged, or of a kind that the page does not know.",
};
