// The worker of codec.js. PNG is read by the Rust crate png as @jsquash/png builds it, and written by the same crate as
// @cf-wasm/png builds it: the first writes RGBA alone, the second needs 1.2 GB to read 12 megapixels
// (docs/lab/decisions/0014-png.md). JPEG is read by mozjpeg, from @jsquash/jpeg.

/** What libraries are loaded, by their names. @type {Map<string, Promise<any>>} */
const loaded = new Map();

/**
 * A library, loaded once.
 * @param {string} place the folder of this version's files
 * @param {string} name
 */
function library(place, name) {
  const path = (/** @type {string} */ suffix) => new URL(`runtime/${name}${suffix}`, place).href;
  const loading = loaded.get(name) ?? import(path(".js")).then((module) => start(module, path(".wasm")));
  loaded.set(name, loading);
  return loading.catch((error) => {
    loaded.delete(name);
    throw new Error(String(error instanceof Error ? error.message : error), { cause: "download" });
  });
}

/** Emscripten's modules return what they export; wasm-bindgen's export it. @param {any} module @param {string} wasm */
async function start(module, wasm) {
  if (module.decode) {
    await module.default(wasm);
    return module;
  }
  return module.default({ locateFile: () => wasm });
}

const jobs = {
  /** @param {string} place @param {{kind: "png" | "jpeg", bytes: Uint8Array}} input */
  async decode(place, { kind, bytes }) {
    const decoder = await library(place, kind === "png" ? "squoosh_png" : "mozjpeg_dec");
    const image = kind === "png" ? decoder.decode(bytes) : decoder.decode(bytes, false);
    if (!image) throw new Error("the decoder returned nothing");
    const { data, width, height } = image;
    return { result: { data, width, height }, transfer: [data.buffer] };
  },

  /** @param {string} place @param {{pixels: Uint8Array, width: number, height: number, colour: number}} input */
  async encode(place, { pixels, width, height, colour }) {
    const encoder = await library(place, "cf_png");
    const [noPalette, noTransparency, depth, compression, paeth] = [undefined, undefined, 8, undefined, 4];
    const result = encoder.encode(pixels, width, height, noPalette, noTransparency, colour, depth, compression, paeth);
    return { result, transfer: [result.buffer] };
  },
};

self.addEventListener("message", async ({ data: { job, place, input } }) => {
  try {
    const { result, transfer } = await jobs[/** @type {keyof typeof jobs} */ (job)](place, input);
    self.postMessage({ result }, { transfer });
  } catch (error) {
    // What Rust has no memory for ends in a trap; what it cannot read, in an Error.
    const short = error instanceof RangeError || error instanceof WebAssembly.RuntimeError;
    const code = short ? "memory" : error instanceof Error && error.cause === "download" ? "download" : "damaged";
    self.postMessage({ error: { code, message: String(error instanceof Error ? error.message : error) } });
  }
});
