// The worker of the browser engine: keeps the runtime and the model, decodes, fills, encodes.

import { ApiError } from "../api.js";
import { HoleMap } from "../holes.js";
import { Codec } from "./codec.js";
import { readPhoto, writePhoto } from "./photo.js";
import { MEMORY, Mask, fillHoles } from "./tiling.js";

/** @typedef {import("./engine.js").Build} Build */
/** @typedef {import("./photo.js").Photo} Photo */
/** @typedef {import("../server-engine.js").Progress} Progress */
/** @typedef {{run: (inputs: Record<string, unknown>, outputs: string[]) => Promise<Record<string, {data: Float32Array, dispose: () => void}>>}} Session */

/** A module of one SIMD instruction. */
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);
const KEPT = "What you painted is kept.";

/** @type {Build} */
let build;
/** The folder of this version's files. */
let place = "";
/** The name of the cache that keeps them. */
let cacheName = "";
/** @type {Codec} */
let codec;
/** The session, or what it is loading. @type {Promise<{ort: any, session: Session}> | null} */
let loading = null;
/** How the model's download goes on. @type {Set<Progress>} */
const watching = new Set();
/** @type {Set<number>} */
const cancelled = new Set();
let queue = Promise.resolve();

const jobs = {
  /** @param {{image: Blob}} input @returns {Promise<Blob>} the photo as PNG */
  async write({ image }) {
    return writePhoto(await readPhoto(image, codec), codec);
  },

  /**
   * @param {{image: Blob, words: Uint32Array, width: number, height: number, seed: number, feather: number}} input
   * @param {Progress} onProgress
   * @param {() => Promise<void>} checkCancelled
   * @returns {Promise<import("../api.js").Answer>}
   */
  async fill({ image, words, width, height, seed, feather }, onProgress, checkCancelled) {
    const { ort, session } = await loaded(onProgress);
    const start = performance.now();
    const photo = await readPhoto(image, codec);
    if (photo.width !== width || photo.height !== height) {
      const size = `${photo.width} × ${photo.height}`;
      throw new ApiError("size", `The file says ${size} pixels and the browser shows ${width} × ${height}, so it cannot be filled here.`);
    }
    const hole = holeOf(new HoleMap(width, height, words));
    const { multiple, estimates } = build.model;
    await checkCancelled();
    await fillHoles(
      {
        multiple,
        estimates,
        memory: MEMORY,
        onProgress: (share) => onProgress("Filling", share),
        async run(known, unknown, origin, estimate) {
          await checkCancelled();
          return filled(ort, session, known, unknown, origin, estimate, seed);
        },
      },
      windowed(photo),
      unknownOf(photo, hole),
      { wanted: hole, feather },
    );
    await checkCancelled();
    const blob = await writePhoto(photo, codec);
    const ratio = hole.data.reduce((sum, each) => sum + each, 0) / hole.data.length;
    return { blob, seconds: (performance.now() - start) / 1000, ratio, notes: photo.notes };
  },
};

/**
 * Run the network once.
 * @param {any} ort
 * @param {Session} session
 * @param {Float32Array} known
 * @param {Mask} unknown
 * @param {[number, number]} origin
 * @param {Mask | null} estimate
 * @param {number} seed
 */
async function filled(ort, session, known, unknown, origin, estimate, seed) {
  const { maps, estimates, seeds } = build.model;
  const { height, width, data } = unknown;
  const hole = new Uint8Array(maps * data.length);
  for (let map = 0; map < maps; map++) hole.set(data, map * data.length);
  const inputs = {
    image: new ort.Tensor("float32", known, [1, 3, height, width]),
    hole: new ort.Tensor("uint8", hole, [1, maps, height, width]),
    ...(estimates ? { estimate: new ort.Tensor("uint8", estimate?.data ?? new Uint8Array(data.length), [1, 1, height, width]) } : {}),
    ...(seeds > 1
      ? {
          seed: new ort.Tensor("int64", BigInt64Array.of(BigInt(seed)), [1]),
          origin: new ort.Tensor("int64", BigInt64Array.from(origin.map(BigInt)), [2]),
        }
      : {}),
  };
  const { filled: output } = await session.run(inputs, ["filled"]);
  if (!output.data.every(Number.isFinite)) {
    throw new ApiError("model", "The model’s output is not finite: its training diverged; build the page with another one.");
  }
  return output.data;
}

/** @param {HoleMap} map */
function holeOf({ width, height, stride, words }) {
  const hole = new Mask(height, width);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) hole.data[to++] = (words[y * stride + (x >>> 5)] >>> (x & 31)) & 1;
  }
  return hole;
}

/** The hole and the invisible pixels, whose colours mean nothing. @param {Photo} photo @param {Mask} hole */
function unknownOf({ channels, pixels, width, height }, hole) {
  if (channels % 2) return hole;
  const unknown = new Mask(height, width, hole.data.map((value, i) => (value || pixels[(i + 1) * channels - 1] === 0 ? 1 : 0)));
  return unknown.data.includes(0) ? unknown : hole;
}

/** The colours of a photo; grey stands for all three. @param {Photo} photo @returns {import("./tiling.js").WindowedImage} */
function windowed({ width, channels, pixels }) {
  const colours = channels >= 3 ? 3 : 1;
  return {
    read({ top, bottom, left, right }) {
      const [h, w] = [bottom - top, right - left];
      const window = new Float32Array(3 * h * w);
      for (let i = 0; i < h * w; i++) {
        const at = ((top + Math.floor(i / w)) * width + left + (i % w)) * channels;
        for (let c = 0; c < 3; c++) window[c * h * w + i] = pixels[at + (colours === 3 ? c : 0)] / 255;
      }
      return window;
    },
    write({ top, bottom, left, right }, filling, opacity) {
      const [h, w] = [bottom - top, right - left];
      const size = h * w;
      for (let i = 0; i < size; i++) {
        if (!opacity[i]) continue;
        const at = ((top + Math.floor(i / w)) * width + left + (i % w)) * channels;
        for (let c = 0; c < colours; c++) {
          const now = colours === 3 ? filling[c * size + i] : (filling[i] + filling[size + i] + filling[2 * size + i]) / 3;
          const old = pixels[at + c] / 255;
          const value = opacity[i] >= 1 ? now : old + (now - old) * opacity[i];
          pixels[at + c] = Math.round(Math.min(1, Math.max(0, value)) * 255);
        }
      }
    },
  };
}

/** @param {string} what @param {unknown} error */
function notLoaded(what, error) {
  const reason = error instanceof Error ? error.message : String(error);
  return new ApiError("download", `${what} did not load (${reason}). ${KEPT}`, {});
}

/** Runtime and model, loaded once; after a failure the next fill tries again. @param {Progress} [onProgress] */
async function loaded(onProgress = () => {}) {
  watching.add(onProgress);
  try {
    loading ??= load();
    return await loading;
  } catch (error) {
    loading = null;
    throw error;
  } finally {
    watching.delete(onProgress);
  }
}

async function load() {
  if (!WebAssembly.validate(SIMD)) {
    throw new ApiError("simd", `This browser has no WebAssembly SIMD, which filling needs: use a newer one. ${KEPT}`);
  }
  const report = (/** @type {number} */ share) => watching.forEach((each) => each("Loading the model", share));
  const [ort, bytes] = await Promise.all([
    import(new URL("runtime/ort.js", place).href).catch((error) => {
      throw notLoaded("ONNX Runtime", error);
    }),
    modelBytes(report),
  ]);
  ort.env.wasm.wasmPaths = { wasm: new URL("runtime/ort.wasm", place).href };
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  try {
    return { ort, session: await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], enableMemPattern: false }) };
  } catch (error) {
    throw isMemory(error) ? error : notLoaded("The model", error);
  }
}

/** The model from the cache, or from the page's place: then it is checked before it is kept. @param {(share: number) => void} report */
async function modelBytes(report) {
  const { file, bytes: length, sha256 } = build.model;
  const url = new URL(file, place).href;
  const cache = await self.caches?.open(cacheName).catch(() => null);
  const kept = await cache?.match(url).catch(() => null);
  if (kept) return new Uint8Array(await kept.arrayBuffer());
  const broken = (/** @type {string} */ how) => new ApiError("model", `The model’s download ${how}. ${KEPT}`);
  const response = await fetch(url).catch(() => {
    throw broken("does not arrive: is this computer online?");
  });
  if (!response.ok || !response.body) throw broken(`failed: the server answered ${response.status}`);
  const bytes = new Uint8Array(length);
  let done = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { value, done: ended } = await reader.read().catch(() => {
      throw broken(`broke off after ${done} of ${length} bytes`);
    });
    if (ended) break;
    if (done + value.length > length) throw broken(`is longer than the model’s ${length} bytes`);
    bytes.set(value, done);
    done += value.length;
    report(done / length);
  }
  if (done < length) throw broken(`broke off after ${done} of ${length} bytes`);
  if (self.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== sha256) throw broken("brought another file than the page was built with (its SHA-256 differs)");
  }
  // Where the storage is full, the model is used from memory.
  await cache?.put(url, new Response(bytes, { headers: { "Content-Type": "application/octet-stream" } })).catch(() => {});
  return bytes;
}

/** @param {unknown} error */
function isMemory(error) {
  return error instanceof RangeError || /memory|bad_alloc|out of bounds|abort/i.test(String(error));
}

/** @param {unknown} error */
function described(error) {
  if (error instanceof ApiError) return { code: error.code, message: error.message, again: ["model", "download"].includes(error.code) };
  if (isMemory(error)) {
    loading = null; // what is left of the runtime is not to be relied on
    return { code: "memory", message: `This browser has not enough memory for this fill: mark less at once, or use a smaller photo. ${KEPT}`, again: true };
  }
  return { code: "fill", message: `The fill failed (${error instanceof Error ? error.message : error}). ${KEPT}`, again: true };
}

self.addEventListener("message", ({ data: { id, job, input } }) => {
  if (job === "start") {
    ({ build, place, cache: cacheName } = input);
    codec = new Codec(place);
    loaded().catch(() => {}); // the first fill says what was wrong
  } else if (job === "cancel") {
    cancelled.add(id);
  } else {
    queue = queue.then(() => answer(id, /** @type {keyof typeof jobs} */ (job), input));
  }
});

/** @param {number} id @param {keyof typeof jobs} job @param {any} input */
async function answer(id, job, input) {
  const checkCancelled = async () => {
    await new Promise((resolve) => setTimeout(resolve)); // lets a message that cancels come in
    if (cancelled.has(id)) throw new ApiError("cancelled", "Cancelled; nothing has changed.");
  };
  const onProgress = (/** @type {string} */ what, /** @type {number} */ share) => postMessage({ id, progress: { what, share } });
  try {
    await checkCancelled();
    postMessage({ id, result: await jobs[job](input, onProgress, checkCancelled) });
  } catch (error) {
    postMessage({ id, error: described(error) });
  }
  cancelled.delete(id);
}
