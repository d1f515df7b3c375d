// Versions of the photo, decoded for the screen. The last few stay, so that undo and comparing need not wait.

import { ApiError, inpaint } from "./api.js";
import { kindOf } from "./formats.js";
import { HoleMap } from "./holes.js";
import { decodePhoto, encodeMask } from "./jobs.js";
import { tiffSize } from "./tiff.js";

/** @typedef {import("./jobs.js").DecodedImage} DecodedImage */

const KEPT = 3;

export class ImageCache {
  /** @param {(decoded: DecodedImage) => boolean} inUse whether it is on the screen */
  constructor(inUse) {
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
   * Decode a file; TIFF, which browsers do not know, the server shows as PNG.
   * @param {Blob} blob
   * @param {AbortSignal} [signal]
   * @returns {Promise<DecodedImage>}
   */
  async read(blob, signal) {
    try {
      return await decodePhoto(blob);
    } catch {
      const kind = await kindOf(blob);
      const size = kind === "tiff" ? await tiffSize(blob) : null;
      if (!size) throw new ApiError("not_shown", NOT_SHOWN[kind] ?? "This file is damaged, or too large for this browser.");
      const mask = await encodeMask(new HoleMap(size.width, size.height), 1);
      const answer = await inpaint({ image: new File([blob], "photo.tif", { type: "image/tiff" }), mask, format: "png" }, { signal });
      return decodePhoto(answer.blob);
    }
  }
}

/** @type {Record<string, string>} */
const NOT_SHOWN = {
  "": "This is not a photo that the page knows: it takes JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF.",
  heic: "This browser cannot show HEIC photos; save it as JPEG, or open the page in a browser that can.",
  tiff: "This TIFF is damaged, or of a kind that the page does not know.",
};
