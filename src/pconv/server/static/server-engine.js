// What fills photos: here a pconv server. The page that `pconv page` builds has browser/engine.js instead; which one is
// used is the one line of engine.js.

import { ApiError, getInfo, inpaint } from "./api.js";
import { kindOf, named } from "./formats.js";
import { HoleMap } from "./holes.js";
import { encodeMask } from "./jobs.js";
import { tiffSize } from "./tiff.js";

/** @typedef {import("./api.js").Info} Info */
/** @typedef {import("./api.js").Answer} Answer */
/** @typedef {(what: string, share: number) => void} Progress A step's name, and how much of it is done, 0..1. */

/**
 * @typedef {object} Engine
 * @property {string} privacy where photos go, in a sentence
 * @property {string} advice what to look at where a file of the page does not arrive
 * @property {("same" | "png")[]} formats that downloads can have
 * @property {() => Promise<Info>} info
 * @property {(image: Blob) => Promise<string>} check throws an ApiError for a photo that cannot be filled; else a note
 * @property {(image: Blob, signal?: AbortSignal) => Promise<Blob | null>} show a photo that the browser cannot decode,
 *   in a format that it can; null: not possible
 * @property {(image: Blob, hole: HoleMap, options: {name: string, seed: number, feather: number}, onProgress: Progress,
 *            signal: AbortSignal) => Promise<Answer>} fill
 * @property {(image: Blob, options: {name: string, original: Blob, format: "same" | "png", width: number,
 *            height: number}, onProgress: Progress, signal: AbortSignal) => Promise<Blob>} write a version of the photo in its original's format, or as PNG
 */

/** A mask of that size in which nothing is to fill. @param {number} width @param {number} height */
const emptyMask = (width, height) => encodeMask(new HoleMap(width, height), 1);

/** @type {Engine} */
export const serverEngine = {
  privacy: "Your photo goes to the pconv server that this page comes from, and nowhere else.",
  advice: "Is the pconv server still running?",
  formats: ["same", "png"],
  info: getInfo,
  check: async () => "",

  /** TIFF, which browsers do not know. */
  async show(image, signal) {
    const size = (await kindOf(image)) === "tiff" ? await tiffSize(image) : null;
    if (!size) return null;
    const file = new File([image], "photo.tif", { type: "image/tiff" });
    return (await inpaint({ image: file, mask: await emptyMask(size.width, size.height), format: "png" }, { signal })).blob;
  },

  async fill(image, hole, { name, seed, feather }, onProgress, signal) {
    const kind = await kindOf(image);
    const mask = await encodeMask(hole, 1);
    const fields = { image: named(image, name, kind), mask, feather: String(feather), seed: String(seed) };
    const onUpload = (/** @type {number} */ share) => onProgress("Uploading", share);
    const ask = (/** @type {string} */ format) => inpaint({ ...fields, format }, { onUpload, signal });
    // As PNG, no fill rounds what another fill left alone. It holds what all other formats do, but for CMYK's inks.
    return ask(kind === "png" ? "same" : "png").catch((error) => {
      if (error instanceof ApiError && error.code === "format" && kind !== "png") return ask("same");
      throw error;
    });
  },

  /** Nothing to fill: the server writes the version as it wrote the original, with all that came with it. */
  async write(image, { name, original, format, width, height }, onProgress, signal) {
    const mask = await emptyMask(width, height);
    /** @type {Record<string, Blob | string>} */
    const fields = { image: named(image, name, await kindOf(image)), mask, format };
    if (format === "same") fields.original = named(original, name, await kindOf(original));
    const onUpload = (/** @type {number} */ share) => onProgress("Uploading", share);
    return (await inpaint(fields, { onUpload, signal })).blob;
  },
};
