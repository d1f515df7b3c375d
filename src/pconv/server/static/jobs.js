// The worker's jobs, as functions that return promises.

/** @typedef {import("./worker.js").Jobs} Jobs */
/** @typedef {import("./holes.js").HoleMap} HoleMap */
/** @typedef {{width: number, height: number, levels: import("./worker.js").Level[]}} DecodedImage */

/** @type {Worker | null} */
let worker = null;
let last = 0;
/** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
const waiting = new Map();

/**
 * @template {keyof Jobs} J
 * @param {J} job
 * @param {Parameters<Jobs[J]>[0]} input
 * @param {Transferable[]} [transfer]
 * @returns {Promise<Awaited<ReturnType<Jobs[J]>>["result"]>}
 */
function run(job, input, transfer = []) {
  if (!worker) {
    worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }) => {
      const promise = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.error === undefined) promise?.resolve(data.result);
      else promise?.reject(new Error(data.error));
    });
    worker.addEventListener("error", (event) => {
      for (const promise of waiting.values()) promise.reject(new Error(event.message || "the worker did not start"));
      waiting.clear();
      worker = null;
    });
  }
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker?.postMessage({ id, job, input }, transfer);
  });
}

/** @param {HoleMap} map */
function copied(map) {
  const words = map.words.slice();
  return { input: { width: map.width, height: map.height, words }, transfer: [words.buffer] };
}

/** @param {Blob} blob @returns {Promise<DecodedImage>} */
export const decodePhoto = (blob) => run("decode", { blob });

/** @param {HoleMap} map @param {1 | 8} depth */
export function encodeMask(map, depth) {
  const { input, transfer } = copied(map);
  return run("encode", { ...input, depth }, transfer);
}

/** @param {HoleMap} map @param {number} by */
export function growMask(map, by) {
  const { input, transfer } = copied(map);
  return run("grow", { ...input, by }, transfer);
}

/** @param {Blob} blob @param {HoleMap} map the mask is read at its size */
export const readMask = (blob, map) => run("readMask", { blob, width: map.width, height: map.height });
