// Versions of the photo, decoded for the screen. The last few stay, so that undo and comparing need not wait.

import { ApiError, inpaint } from "./api.js";
import { decodePhoto } from "./jobs.js";

/** @typedef {import("./jobs.js").Picture} Picture */

const KEPT = 3;

export class Pictures {
  constructor() {
    /** From the one used longest ago to the last one. @type {Map<number, Promise<Picture>>} */
    this.known = new Map();
  }

  forget() {
    this.known.clear(); // what is on the screen may be one of them; the garbage collector closes the others
  }

  /** @param {number} version @param {Picture | Promise<Picture>} picture */
  put(version, picture) {
    this.known.delete(version);
    this.known.set(version, Promise.resolve(picture));
    for (const old of this.known.keys()) if (this.known.size > KEPT) this.known.delete(old);
  }

  /** @param {number} version @param {Blob} blob */
  get(version, blob) {
    const picture = this.known.get(version) ?? this.read(blob);
    this.put(version, picture);
    picture.catch(() => this.known.delete(version));
    return picture;
  }

  /**
   * Decode a file; what the browser does not know (TIFF, say) the server shows as PNG.
   * @param {Blob} blob
   * @param {AbortSignal} [signal]
   * @returns {Promise<Picture>}
   */
  async read(blob, signal) {
    try {
      return await decodePhoto(blob);
    } catch {
      const answer = await inpaint({ image: blob, format: "png" }, { signal });
      return decodePhoto(answer.blob).catch(() => {
        throw new ApiError("not_shown", "This browser cannot show the picture; it may be too large, or damaged.");
      });
    }
  }
}
