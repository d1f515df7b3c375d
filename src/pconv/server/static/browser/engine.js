// Fills photos in this browser: a worker computes with ONNX Runtime Web, and a service worker keeps the page's files.

import { ApiError } from "../api.js";
import { warn } from "../ui.js";
import { checkPhoto } from "./photo.js";

/**
 * @typedef {object} Build What `pconv page` knows of the page: see pconv.cli.page.
 * @property {string} version of page, runtime and model together
 * @property {string} pconv
 * @property {{name: string, file: string, bytes: number, sha256: string, multiple: number, maps: number, seeds: number,
 *             estimates: boolean}} model
 * @property {{grow: {maximum: number}, feather: {maximum: number}}} options
 * @property {number} pixels the largest photo
 */

/** @typedef {{resolve: (result: any) => void, reject: (error: Error) => void, onProgress: import("../server-engine.js").Progress}} Waiting */

const cancelled = () => new ApiError("cancelled", "Cancelled; nothing has changed.");

/** The folder of this version's files, and the page's own above it. */
const PLACE = new URL("../", import.meta.url);
const ROOT = new URL("../", PLACE);

/** @param {Build} build @returns {import("../server-engine.js").Engine} */
export function browserEngine(build) {
  /** @type {Worker | null} */
  let worker = null;
  let last = 0;
  /** @type {Map<number, Waiting>} */
  const waiting = new Map();

  function started() {
    if (worker) return worker;
    worker = new Worker(new URL("./fill-worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data: { id, result, error, progress } }) => {
      const promise = waiting.get(id);
      if (progress) return promise?.onProgress(progress.what, progress.share);
      waiting.delete(id);
      if (error) promise?.reject(new ApiError(error.code, error.message, { retryAfter: error.again ? 0 : null }));
      else promise?.resolve(result);
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      const message = `The part of this page that fills photos did not start (${event.message || "a file is missing"}). What you painted is kept.`;
      for (const promise of waiting.values()) promise.reject(new ApiError("worker", message, { retryAfter: 0 }));
      waiting.clear();
      worker = null;
    });
    worker.postMessage({ job: "start", input: { build, place: PLACE.href, cache: cacheOf(build) } });
    return worker;
  }

  /**
   * @param {string} job
   * @param {object} input
   * @param {import("../server-engine.js").Progress} onProgress
   * @param {AbortSignal} signal
   * @returns {Promise<any>}
   */
  function run(job, input, onProgress, signal) {
    const id = ++last;
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelled());
      waiting.set(id, { resolve, reject, onProgress });
      started().postMessage({ id, job, input });
      signal.addEventListener("abort", () => {
        waiting.delete(id);
        worker?.postMessage({ id, job: "cancel" });
        reject(cancelled());
      });
    });
  }

  return {
    privacy: "Your photo is filled in this browser and does not leave it.",
    advice: "Is this computer online?",
    formats: ["png"],
    check: checkPhoto,
    show: async () => null,

    async info() {
      keepFiles(cacheOf(build));
      started(); // the model is fetched while a photo is chosen and painted on
      const { name, seeds } = build.model;
      return {
        name: "pconv",
        version: build.pconv,
        model: name,
        backend: "ONNX Runtime Web",
        device: "this computer",
        seeds,
        limits: { pixels: build.pixels },
        options: build.options,
      };
    },

    fill(image, { words, width, height }, { seed, feather }, onProgress, signal) {
      return run("fill", { image, words: words.slice(), width, height, seed, feather }, onProgress, signal);
    },

    write(image, _, onProgress, signal) {
      return run("write", { image }, onProgress, signal);
    },
  };
}

/** The name of the cache that service-worker.js fills. @param {Build} build */
const cacheOf = ({ version }) => `pconv ${ROOT.pathname} ${version}`;

/**
 * Keep the page's files for work without a network, where the browser allows it. A new version is offered in every tab;
 * a tab that goes on with the old one keeps its files by the lock of that name.
 * @param {string} cache
 */
async function keepFiles(cache) {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  navigator.locks?.request(cache, { mode: "shared" }, () => new Promise(() => {}));
  try {
    let running = workers.controller;
    const registration = await workers.register(new URL("service-worker.js", ROOT));
    const load = () => {
      if (!registration.waiting) return location.reload();
      workers.addEventListener("controllerchange", () => location.reload(), { once: true });
      registration.waiting.postMessage("take over");
    };
    const offer = () => warn("A new version of this page is there.", { label: "Load it", run: load }, { calm: true });
    const offerWaiting = () => running && registration.waiting && offer();
    registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offerWaiting));
    workers.addEventListener("controllerchange", () => {
      if (running) offer(); // another tab has loaded it
      running = workers.controller;
    });
    offerWaiting();
  } catch (error) {
    console.warn("This page is not kept for work without a network:", error);
  }
}
