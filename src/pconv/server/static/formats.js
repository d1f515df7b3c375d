// What kind of image a file is, from its first bytes: a name or a Content-Type may be wrong.

/** @typedef {"png" | "jpeg" | "webp" | "bmp" | "gif" | "tiff" | "avif" | "heic" | ""} Kind */

const BEGINNINGS = /** @type {[Kind, RegExp][]} */ ([
  ["png", /^\x89PNG\r\n\x1a\n/],
  ["jpeg", /^\xff\xd8\xff/],
  ["webp", /^RIFF[^]{4}WEBP/],
  ["bmp", /^BM/],
  ["gif", /^GIF8/],
  ["tiff", /^(II[*+]\0|MM\0[*+])/],
  ["avif", /^[^]{4}ftypavi[fs]/],
  ["heic", /^[^]{4}ftyp(hei[cxms]|hevc|mif1|msf1)/],
]);

/** @type {Record<string, string>} */
const SUFFIXES = { png: ".png", jpeg: ".jpg", webp: ".webp", bmp: ".bmp", gif: ".gif", tiff: ".tif", avif: ".avif" };

/** @param {Blob} blob @returns {Promise<Kind>} "" for what is not known */
export async function kindOf(blob) {
  const bytes = new Uint8Array(await blob.slice(0, 16).arrayBuffer());
  const text = String.fromCharCode(...bytes);
  return BEGINNINGS.find(([, pattern]) => pattern.test(text))?.[0] ?? "";
}

/**
 * The name of a file made from another: "cat.jpg", "-filled" and "png" give "cat-filled.png".
 * @param {string} name of the photo
 * @param {string} addition
 * @param {Kind} kind
 */
export function nameFor(name, addition, kind) {
  const dot = name.lastIndexOf(".");
  const stem = dot > 0 ? name.slice(0, dot) : name || "photo";
  const suffix = dot > 0 ? name.slice(dot) : "";
  return stem + addition + (suffix && sameKind(suffix, kind) ? suffix : (SUFFIXES[kind] ?? suffix));
}

/**
 * A file under a name: the server goes by its content, people reading a log by its name.
 * @param {Blob} blob
 * @param {string} name
 * @param {Kind} kind
 */
export function named(blob, name, kind) {
  return new File([blob], nameFor(name, "", kind), { type: kind ? `image/${kind}` : blob.type });
}

/** Whether a file name's suffix is one of the kind's: .jpeg stays .jpeg. @param {string} suffix @param {Kind} kind */
function sameKind(suffix, kind) {
  const known = suffix.toLowerCase().slice(1);
  return known === kind || SUFFIXES[kind] === `.${known}`;
}
