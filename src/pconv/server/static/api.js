// The server's HTTP API. Every failure is an ApiError with a sentence for the person at the page.

import { keep, kept } from "./kept.js";

const TOKEN = "pconv-token";

/** @typedef {{name: string, version: string, model: string, backend: string, device: string,
 *             seeds?: number, limits?: {bytes?: number, pixels?: number},
 *             options: Record<"grow" | "feather", {maximum: number}>}} Info */
/** @typedef {{blob: Blob, seconds: number | null, ratio: number | null, notes: string}} Answer */

export class ApiError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retryAfter?: number | null}} [more]
   */
  constructor(code, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    /** Seconds after which the same request may go through; null where trying again is of no use. */
    this.retryAfter = retryAfter;
  }
}

/** Take the token out of the address, where it could be seen or shared by accident, and keep it for this tab. */
export function adoptToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return;
  fragment.delete("token");
  const rest = fragment.toString();
  history.replaceState(null, "", location.pathname + location.search + (rest && `#${rest}`));
  setToken(token);
}

/** @param {string} token */
export function setToken(token) {
  keep("sessionStorage", TOKEN, token);
}

/** @returns {Record<string, string>} */
function authorization() {
  const token = kept("sessionStorage", TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** @returns {Promise<Info>} */
export async function getInfo() {
  let response;
  try {
    response = await fetch("api/v1/info", { headers: authorization() });
  } catch {
    throw unreachable();
  }
  if (!response.ok) throw await failure(response.status, await response.blob(), response.headers.get("Retry-After"));
  return response.json();
}

/**
 * Post an image to be filled, or, with an empty mask, to be written in another format.
 * @param {Record<string, Blob | string>} fields as the API names them
 * @param {{onUpload?: (share: number) => void, signal?: AbortSignal}} [options] the share uploaded so far, 0..1
 * @returns {Promise<Answer>}
 */
export function inpaint(fields, { onUpload, signal } = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === "string") form.set(name, value);
    else form.set(name, value, value instanceof File ? value.name : name);
  }
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot say how much is uploaded
    request.open("POST", "api/v1/inpaint");
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.responseType = "blob";
    request.upload.onprogress = ({ loaded, total }) => onUpload?.(total ? loaded / total : 1);
    request.upload.onload = () => onUpload?.(1);
    request.onload = async () => {
      if (request.status === 200) resolve(answer(request));
      else reject(await failure(request.status, request.response, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new ApiError("cancelled", "Cancelled; nothing has changed."));
    signal?.addEventListener("abort", () => request.abort());
    if (signal?.aborted) reject(new ApiError("cancelled", "Cancelled; nothing has changed."));
    else request.send(form);
  });
}

/** @param {XMLHttpRequest} request @returns {Answer} */
function answer(request) {
  const number = (/** @type {string} */ name) => {
    const text = request.getResponseHeader(name);
    return text === null || Number.isNaN(Number(text)) ? null : Number(text);
  };
  return {
    blob: request.response,
    seconds: number("X-Pconv-Seconds"),
    ratio: number("X-Pconv-Hole-Ratio"),
    notes: decoded(request.getResponseHeader("X-Pconv-Notes") ?? ""),
  };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function unreachable() {
  const message = "The pconv server does not answer. Is it still running? What you painted is kept.";
  return new ApiError("unreachable", message, { retryAfter: 0 });
}

/** The server's sentences begin small, as a program's do. @param {string} text */
function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(whole) ? whole : `${whole}.`;
}

/** @type {Record<number, string>} */
const WITHOUT_REASON = {
  401: "The server wants its token, which “pconv serve” printed or was started with.",
  408: "The server took too long and gave up. A smaller photo, or less to fill at once, may help.",
  413: "This photo is larger than the server accepts.",
  415: "The server does not know this kind of image.",
  429: "Too many requests for now.",
  503: "The server is busy with other photos.",
};

/**
 * @param {number} status
 * @param {Blob | null} body
 * @param {string | null} after
 */
async function failure(status, body, after) {
  let code = `http_${status}`;
  let message = WITHOUT_REASON[status] ?? `The server answered with an error (${status}).`;
  try {
    const { error } = JSON.parse((await body?.text()) ?? "");
    if (typeof error.message === "string") ({ code, message } = error);
  } catch {
    // not one of pconv's own answers, but a proxy's, say
  }
  message = status === 401 ? WITHOUT_REASON[401] : sentence(message);
  const again = status === 429 || status === 408 || (status >= 500 && code !== "time_limit");
  return new ApiError(code, message, { status, retryAfter: again ? Math.max(0, Number(after) || 0) : null });
}
