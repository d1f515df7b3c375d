// Photos as pixels and back, by libraries in WebAssembly. They work in a worker of their own, since WebAssembly gives
// memory back only when its worker ends.

import { ApiError } from "../api.js";

/** @typedef {{data: Uint8ClampedArray, width: number, height: number}} Decoded RGBA, 8 bits, in rows. */

/** A photo of more pixels than this ends the worker behind it. */
const SMALL = 2_000_000;

export class Codec {
  /** @param {string} place the folder of this version's files */
  constructor(place) {
    this.place = place;
    /** @type {Worker | null} */
    this.worker = null;
  }

  /**
   * @param {"png" | "jpeg"} kind
   * @param {Uint8Array<ArrayBuffer>} bytes the whole file; its memory goes to the decoder
   * @returns {Promise<Decoded>}
   */
  decode(kind, bytes) {
    return this.run("decode", { kind, bytes }, [bytes.buffer], ({ width, height }) => width * height);
  }

  /**
   * @param {Uint8Array} pixels
   * @param {number} width
   * @param {number} height
   * @param {number} colour PNG's colour type: 0, 2, 4, 6
   * @returns {Promise<Uint8Array<ArrayBuffer>>} a PNG of 8 bits with no chunks but those that it must have
   */
  encode(pixels, width, height, colour) {
    return this.run("encode", { pixels, width, height, colour }, [], () => width * height);
  }

  /**
   * @param {string} job
   * @param {object} input
   * @param {Transferable[]} transfer
   * @param {(result: any) => number} size how many pixels the job had
   * @returns {Promise<any>}
   */
  async run(job, input, transfer, size) {
    this.worker ??= new Worker(new URL("./codec-worker.js", import.meta.url), { type: "module" });
    const { worker } = this;
    let keep = false;
    try {
      const result = await new Promise((resolve, reject) => {
        worker.onmessage = ({ data: { result, error } }) => (error ? reject(described(error)) : resolve(result));
        worker.onerror = (event) => {
          event.preventDefault();
          reject(described({ code: "download", message: event.message || "a file is missing" }));
        };
        worker.postMessage({ job, place: this.place, input }, transfer);
      });
      keep = size(result) <= SMALL;
      return result;
    } finally {
      if (!keep) {
        worker.terminate();
        this.worker = null;
      }
    }
  }
}

/** @param {{code: string, message: string}} error */
function described({ code, message }) {
  if (code === "memory") return new RangeError(`no memory for the photo (${message})`);
  if (code === "download") return new ApiError("download", `The decoder for photos did not load (${message}). What you painted is kept.`);
  return new ApiError("format", "This file is damaged or cut short, and cannot be read to its end.");
}
